"""Scaling laws of test-time compute, each coefficient with its standard error.

accuracy    acc = α + β · log2 C up to a plateau, C in FLOPs per problem
coverage    log c = a · k^b with a, b < 0, k samples per problem (Brown et al. 2024, "Large Language Monkeys")
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.estimators import Floats, coverage_curve, resampled_means

GRID = 400
"""Number of places where a plateau may begin, over the measured range of log2 C."""
FITS = 300
"""Number of bootstrap resamples for standard errors."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A fitted value and its standard error, which is NaN where there are too few points."""

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class Plateau:
    """The point from which accuracy no longer rises."""

    log2_flops: Coefficient
    """log2 of the FLOPs per problem."""
    accuracy: Coefficient
    """Accuracy from there on."""


@dataclass(frozen=True, slots=True)
class LogLinear:
    """acc = α + β · log2 C, up to the plateau."""

    alpha: Coefficient
    beta: Coefficient
    plateau: Plateau | None
    """None where a line without a plateau explains the points better."""
    residual: float
    """Root mean square of the residuals, in accuracy."""

    def __call__(self, flops: npt.ArrayLike) -> Floats:
        """Returns the fitted accuracy at these FLOPs per problem."""
        x = np.log2(np.asarray(flops, dtype=float))
        if self.plateau is not None:
            x = np.minimum(x, self.plateau.log2_flops.value)
        return self.alpha.value + self.beta.value * x


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """log c = a · k^b."""

    a: Coefficient
    b: Coefficient
    residual: float
    """Root mean square of the residuals, in coverage."""

    def __call__(self, k: npt.ArrayLike) -> Floats:
        """Returns the fitted coverage of ``k`` samples per problem."""
        return np.exp(self.a.value * np.asarray(k, dtype=float) ** self.b.value)


def log_linear(
    flops: npt.ArrayLike, accuracy: npt.ArrayLike, errors: npt.ArrayLike | None = None
) -> LogLinear:
    """Fits accuracy to log2 FLOPs by least squares, with a plateau or without.

    The model with the lower Bayesian information criterion counts (Schwarz 1978). A plateau needs two points
    on it and two before it. ``errors`` are the points' standard errors where they are known and independent;
    otherwise they are estimated from the scatter. Standard errors of a line with a plateau are those of
    segmented regression (Muggeo 2003). Raises ValueError with fewer than two different FLOPs.
    """
    x, y = np.log2(np.asarray(flops, dtype=float)), np.asarray(accuracy, dtype=float)
    if len(np.unique(x)) < 2:
        raise ValueError("a fit needs accuracy at two different FLOPs at least")
    order = np.argsort(x)
    x, y = x[order], y[order]
    weights = np.ones_like(y) if errors is None else 1 / np.asarray(errors, dtype=float)[order] ** 2
    known = errors is not None
    line = _line(x, y, weights)
    turning, turn = _turning(x, y, weights)
    if turn is None or turning[1] <= 0 or _bic(x, y, weights, known, turn) >= _bic(x, y, weights, known):
        return _with_errors(x, y, weights, known, line, None)
    return _with_errors(x, y, weights, known, turning, turn)


def accuracy_fit(flops: npt.ArrayLike, correct: npt.ArrayLike, seed: int = 0) -> LogLinear:
    """Fits ``log_linear`` to the means of FLOPs charged and correctness, each ``float64[points, problems]``.

    The points share their problems, so standard errors come from a seeded bootstrap over problems. Every
    resample has a plateau if the means have one.
    """
    spent, right = np.asarray(flops, dtype=float), np.asarray(correct, dtype=float)
    means = resampled_means(np.vstack([spent, right]), seed, FITS)
    fit = log_linear(means[0, : len(spent)], means[0, len(spent) :])
    drawn: list[list[float]] = []
    for mean in means[1:]:
        x, y = np.log2(mean[: len(spent)]), mean[len(spent) :]
        if fit.plateau is None:
            drawn.append([*_line(x, y, np.ones_like(y))])
        else:
            order = np.argsort(x)
            (alpha, beta), turn = _turning(x[order], y[order], np.ones_like(y))
            assert turn is not None
            drawn.append([alpha, beta, turn, alpha + beta * turn])
    error = [float(e) for e in np.std(drawn, axis=0, ddof=1)]
    return replace(
        fit,
        alpha=replace(fit.alpha, error=error[0]),
        beta=replace(fit.beta, error=error[1]),
        plateau=fit.plateau
        and Plateau(
            replace(fit.plateau.log2_flops, error=error[2]), replace(fit.plateau.accuracy, error=error[3])
        ),
    )


def power_law(k: npt.ArrayLike, coverage: npt.ArrayLike, errors: npt.ArrayLike | None = None) -> PowerLaw:
    """Fits c = exp(a · k^b) by least squares. ``errors`` is as for ``log_linear``.

    Raises ValueError where fewer than two points lie strictly between 0 and 1, or the fit does not converge.
    """
    from scipy.optimize import curve_fit

    x, y = np.asarray(k, dtype=float), np.asarray(coverage, dtype=float)
    inside = (y > 0) & (y < 1)
    if inside.sum() < 2:
        raise ValueError("a coverage law needs two points strictly between 0 and 1 at least")
    # log(−log c) is linear in log k, which gives the start of the search.
    b, log_a = np.polyfit(np.log(x[inside]), np.log(-np.log(y[inside])), 1)
    few = len(x) < 3 and errors is None
    if few:  # the start solves it exactly
        (a, b), covariance = (-np.exp(log_a), b), np.full((2, 2), np.nan)
    else:
        with np.errstate(over="ignore"):  # an exponent tried on the way may overflow: that is a bad fit
            try:
                (a, b), covariance = curve_fit(
                    lambda x, a, b: np.exp(a * x**b),
                    x,
                    y,
                    p0=(-np.exp(log_a), b),
                    sigma=errors,
                    absolute_sigma=errors is not None,
                )
            except RuntimeError as failure:  # no convergence
                raise ValueError(f"no coverage law fits these points ({failure})") from failure
    residual = np.sqrt(np.mean((y - np.exp(a * x**b)) ** 2))
    error = np.sqrt(np.diag(covariance))
    return PowerLaw(
        Coefficient(float(a), float(error[0])), Coefficient(float(b), float(error[1])), float(residual)
    )


def coverage_fit(n: int, correct: npt.ArrayLike, seed: int = 0) -> PowerLaw:
    """Fits ``power_law`` to the unbiased pass@k at k = 1, 2, 4, … ≤ n.

    ``correct`` (``int[problems]``) counts the correct ones of each problem's ``n`` independent samples. All k
    share their samples, so standard errors come from a seeded bootstrap over problems. Raises ValueError
    where there is no fit, or too few resamples have one.
    """
    ks, values = coverage_curve(n, correct)
    fit = power_law(ks, values.mean(axis=0))
    means = resampled_means(values.T, seed, FITS)[1:]
    inside = ((means > 0) & (means < 1)).sum(axis=1) >= 2
    drawn = []
    for mean in means[inside]:
        with suppress(ValueError):  # a resample of few problems may have no law
            drawn.append(power_law(ks, mean))
    if len(drawn) < 2:
        raise ValueError("too few problems for a coverage law's errors")
    a, b = (float(np.std([getattr(law, name).value for law in drawn], ddof=1)) for name in ("a", "b"))
    return PowerLaw(Coefficient(fit.a.value, a), Coefficient(fit.b.value, b), fit.residual)


def _line(x: Floats, y: Floats, weights: Floats) -> tuple[float, float]:
    """Returns (α, β) of the weighted least-squares line."""
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    spread = weights @ (x - mean_x) ** 2
    beta = weights @ ((x - mean_x) * (y - mean_y)) / spread
    return float(mean_y - beta * mean_x), float(beta)


def _turning(x: Floats, y: Floats, weights: Floats) -> tuple[tuple[float, float], float | None]:
    """Returns ((α, β), turn) of the best line in min(x, turn), for ascending x.

    The turn is None with fewer than four different x.
    """
    if len(np.unique(x)) < 4:
        return (float("nan"), float("nan")), None
    turns = np.union1d(np.linspace(x[1], x[-2], GRID), x[1:-1])
    turns = turns[turns > x[0]]
    bent = np.minimum(x, turns[:, None])
    mean_x, mean_y = bent @ weights / weights.sum(), y @ weights / weights.sum()
    centred = bent - mean_x[:, None]
    beta = (centred * (y - mean_y)) @ weights / (centred**2 @ weights)
    loss = ((y - mean_y - beta[:, None] * centred) ** 2) @ weights
    best = int(np.argmin(loss))
    return (float(mean_y - beta[best] * mean_x[best]), float(beta[best])), float(turns[best])


def _bic(x: Floats, y: Floats, weights: Floats, known: bool, turn: float | None = None) -> float:
    """Returns the Bayesian information criterion of a line, or of one that is level from ``turn`` on."""
    bent = x if turn is None else np.minimum(x, turn)
    alpha, beta = _line(bent, y, weights)
    loss = float(weights @ (y - alpha - beta * bent) ** 2)
    parameters = 2 + (turn is not None)
    fit = loss if known else len(y) * np.log(max(loss / len(y), 1e-12))
    return float(fit + parameters * np.log(len(y)))


def _with_errors(
    x: Floats, y: Floats, weights: Floats, known: bool, line: tuple[float, float], turn: float | None
) -> LogLinear:
    """Returns the fit with errors from its covariance s² (JᵀWJ)⁻¹; J has the derivatives by α, β and turn."""
    alpha, beta = line
    bent = x if turn is None else np.minimum(x, turn)
    columns = [np.ones_like(x), bent]
    if turn is not None:
        columns.append(beta * (x > turn))
    jacobian = np.column_stack(columns)
    residuals = y - alpha - beta * bent
    freedom = len(y) - len(columns)
    covariance = np.linalg.pinv(jacobian.T @ (weights[:, None] * jacobian))
    if not known:
        covariance = covariance * (weights @ residuals**2 / freedom if freedom > 0 else np.nan)

    def error(gradient: list[float]) -> float:
        g = np.array(gradient)
        return float(np.sqrt(g @ covariance @ g))

    plateau = None
    if turn is not None:
        level = Coefficient(alpha + beta * turn, error([1.0, turn, beta]))
        plateau = Plateau(Coefficient(turn, error([0.0, 0.0, 1.0])), level)
        errors = error([1.0, 0.0, 0.0]), error([0.0, 1.0, 0.0])
    else:
        errors = error([1.0, 0.0]), error([0.0, 1.0])
    rms = float(np.sqrt(np.mean(residuals**2)))
    return LogLinear(Coefficient(alpha, errors[0]), Coefficient(beta, errors[1]), plateau, rms)
