"""One entry point for the training of the lab's models, and where the trained ones are."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.errors import BadInput, one_of
from orchestrator.lab.model import SIZES
from orchestrator.lab.train_generator import RESUME_FILE, GeneratorRecipe, train_generator
from orchestrator.lab.train_reviser import ReviserRecipe, train_reviser
from orchestrator.lab.train_verifier import VerifierRecipe, train_verifier
from orchestrator.lab.training import Log

CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""The committed models: ``generator-s``, ``generator-m``, ``prm``, ``prm-weak``, ``reviser``."""

_VERIFIERS = {
    "prm": VerifierRecipe(),
    # Shallow and barely trained: for studies of selection errors and over-optimisation.
    "prm-weak": VerifierRecipe(extra_layers=1, steps=300, puzzles=4000),
}

# The second part learns from chains of the reviser that the first part made, as they come.
_REVISER = (
    ReviserRecipe(),
    ReviserRecipe(steps=420, lr=6e-4, puzzles=95, own_from=0.0, own_share=1.0, own_puzzles=1800),
)

WHAT = (*(f"generator-{size}" for size in SIZES), *_VERIFIERS, "reviser")
"""What can be trained."""


def train(
    what: str,
    out: Path,
    seed: int = 0,
    minutes: float | None = None,
    generator: Path | None = None,
    log: Log = print,
) -> None:
    """Train ``what`` (one of ``WHAT``) on the CPU and write a stock model directory to ``out``.

    The same seed gives the same weights on the same machine and library versions. ``minutes`` stops early;
    the same call again continues. ``generator`` is the directory whose samples a verifier learns to judge, or
    from which a reviser starts (default: the committed generator-s). Progress goes to ``log``, one line each
    50 steps. ``BadInput`` if ``what`` is unknown or there is no generator.
    """
    if what not in WHAT:
        raise BadInput("lab.what", what, one_of(WHAT))
    if what in _VERIFIERS:
        train_verifier(out, generator or CHECKPOINTS / "generator-s", _VERIFIERS[what], seed, minutes, log)
    elif what == "reviser":
        first, second = _REVISER
        part = out / "first"
        if not (part / "model.safetensors").exists() or (part / RESUME_FILE).exists():
            train_reviser(part, generator or CHECKPOINTS / "generator-s", first, seed, minutes, log)
        if not (part / RESUME_FILE).exists():
            train_reviser(out, part, second, seed + 100, minutes, log)
            if not (out / RESUME_FILE).exists():
                shutil.rmtree(part)
    else:
        train_generator(out, GeneratorRecipe(size=what.removeprefix("generator-")), seed, minutes, log)
