"""Loads a configuration: a YAML file, the files it inherits from, and ``key=value`` overrides.

Everything that can be wrong with a configuration is found here, before any engine starts, and is
told in one line (``BadInput``) that names the key, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf, ValueNode
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    KeyValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError, YAMLError

from orchestrator.budget.units import UNITS
from orchestrator.config.checks import check
from orchestrator.config.kinds import allowed_at, misplaced, sections_with, wrong_member
from orchestrator.config.schema import SETS, Config, to_dict
from orchestrator.config.written import leaves, unresolved
from orchestrator.errors import BadInput, UnknownKey, in_one_line, one_of
from orchestrator.masking import remember

SWEEP = "sweep"
"""The section of a file that ``ttc sweep`` reads (orchestrator/runs/grid.py)."""

BUDGETS = tuple(f"budget.{unit}=" for unit in UNITS)

UNBUILT = (ValueError, OverflowError, LookupError, AttributeError)
"""Errors of Python where YAML's text is none of the type that it is tagged or read as: ``!!bool x``."""

MOST = 10**308
"""The largest number that a floating-point number can be, nearly."""

RENAMED = {"allocation.hopeless": "allocation.min_gain"}
"""Keys of earlier versions: a run that was begun with one is resumed."""

SINCE = {"allocation.pass_on": False}
"""Keys whose default is not what was done before there were such keys, with what was done."""


def load(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file (and the files it inherits from through ``base:``), applies ``key=value`` overrides,
    and checks every section but ``strategy``, which ``preparation`` checks. Raises BadInput."""
    stack = layers(path, overrides)
    if any(SWEEP in layer for layer in stack):
        raise BadInput(SWEEP, str(path), "one run has no such section; it is for ttc sweep")
    return build(stack)


def load_begun(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads the configuration that a run was begun with, as ``load`` does, also where an earlier version has
    begun it. Raises BadInput, which names the file where the fault is in it and in no override."""
    try:
        held = layers(path)[-1]
        then = [f"{key}={value}" for key, value in SINCE.items() if OmegaConf.select(held, key) is None]
        return load(path, [*then, *overrides])
    except BadInput as error:
        if error.key in {"override", *(override.partition("=")[0] for override in overrides)}:
            raise
        raise error.within(str(path)) from error


def layers(path: Path | str, overrides: Sequence[str] = ()) -> list[DictConfig]:
    """Returns the file's bases, the deepest first, then the file, then each ``key=value``, unchecked.

    Raises BadInput.
    """
    try:
        found = _layers(Path(path))
        given = [_override(override) for override in overrides]
    except OmegaConfBaseException as error:
        raise explained(error, _schema()) from error
    budgets = [o for o in overrides if o.startswith(BUDGETS) and not o.endswith("=null")]
    if len({budget.partition("=")[0] for budget in budgets}) > 1:
        raise BadInput("budget", " ".join(budgets), f"exactly one is needed; {one_of(UNITS)}")
    return [*found, *given]


def merged(stack: Sequence[DictConfig]) -> DictConfig:
    """Lays each layer over those before it, on the schema; interpolations are kept. Raises BadInput."""
    result = deepcopy(_schema())
    try:
        for layer in stack:
            result = _over(result, layer)
    except (OmegaConfBaseException, TypeError) as error:  # a mapping over a list is a TypeError
        raise explained(error, result, layer) from error
    except RecursionError as error:
        raise BadInput("config", "…", "it is nested too deeply") from error
    except OverflowError as error:
        given = leaves(OmegaConf.to_container(layer, resolve=False))
        key = next((key for key, value in given if isinstance(value, int) and abs(value) > MOST), "config")
        raise BadInput(key, in_one_line(error), "allowed: numbers up to 1e308") from error
    return result


def build(stack: Sequence[DictConfig]) -> Config:
    """Returns the checked configuration that the layers amount to. Raises BadInput."""
    result = merged(stack)
    try:
        config: Config = OmegaConf.to_object(result)  # type: ignore[assignment]
        given = to_dict(config)
    except OmegaConfBaseException as error:
        raise explained(error, result) from error
    if (found := wrong_member(given)) is not None:
        raise BadInput(*found, allowed_at(found[0]))
    for key, value in leaves(given):
        remember(key, value)
    config.unresolved = unresolved(result, config)
    check(config)
    return config


@cache
def _schema() -> DictConfig:
    """The keys with their types and defaults. OmegaConf takes longer to make it than all else that loading
    does, so it is made once, and copied."""
    return OmegaConf.structured(Config)


def _layers(path: Path, seen: tuple[Path, ...] = ()) -> list[DictConfig]:
    """The file's bases, the deepest first and a later one over an earlier one, then the file."""
    if not path.is_file():
        allowed = "allowed: an existing YAML file"
        if path.parent == SETS:
            allowed = one_of(
                [f"${{sets:{file.stem}}}" for file in sorted(SETS.glob("*.yaml"))] or ["none here"]
            )
        raise BadInput("base" if seen else "config", str(path), allowed)
    if path.resolve() in seen:
        raise BadInput("base", str(path), "a configuration cannot inherit from itself")
    layer = _parsed(path)
    for old, new in RENAMED.items():
        section, _, key = old.rpartition(".")
        held = layer.get(section)
        if isinstance(held, DictConfig) and key in held:
            value = OmegaConf.to_container(held, resolve=False)[key]  # type: ignore[index,call-overload]
            if new.rpartition(".")[2] in held:
                raise BadInput(old, value, f"this key is {new} now: leave one of the two out")
            OmegaConf.update(layer, new, value, force_add=True)
            del held[key]
    _name_strategy(layer)
    base = layer.pop("base", None)
    bases = [] if base is None else list(base) if isinstance(base, ListConfig) else [base]
    before: list[DictConfig] = []
    for each in bases:
        if not isinstance(each, str):
            raise BadInput("base", each, "allowed: the path of another YAML file, or a list of such paths")
        before += _layers(path.parent / each, (*seen, path.resolve()))
    return [*before, layer]


def _parsed(path: Path) -> DictConfig:
    try:
        layer = OmegaConf.load(path)
    except UnicodeDecodeError as error:
        raise BadInput("config", str(path), f"the file is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        needed = "allowed: a YAML mapping of keys to values"  # OmegaConf's own: the file is one number
        raise BadInput("config", str(path), error.strerror or needed) from error
    except RecursionError as error:
        raise BadInput("config", str(path), "the file is nested too deeply") from error
    except YAMLError as error:
        place, reason = _fault(error, path.read_text(encoding="utf-8"))
        raise BadInput("config", f"{path}{place}", f"this is no valid YAML: {reason}") from error
    except UNBUILT as error:
        raise BadInput("config", str(path), f"allowed: values of YAML ({in_one_line(error)})") from error
    if not isinstance(layer, DictConfig):
        raise BadInput("config", str(path), "allowed: a YAML mapping of keys to values")
    return layer


def _override(override: str) -> DictConfig:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise BadInput("override", override, "allowed: key=value, for example budget.flops=1e12")
    try:
        layer = OmegaConf.from_dotlist([override])
        _name_strategy(layer)
        return layer
    except RecursionError as error:
        raise BadInput("override", f"{key}=…", "the value is nested too deeply") from error
    except YAMLError as error:
        raise BadInput(key, value, f"this is no valid YAML: {_fault(error, value)[1]}") from error
    except UnicodeEncodeError as error:
        raise BadInput("override", override[:60], "it is not UTF-8 text") from error
    except UNBUILT as error:
        raise BadInput(key, value[:60], f"allowed: a value of YAML ({in_one_line(error)})") from error


def _name_strategy(layer: DictConfig) -> None:
    """A strategy that is no section is its name. Raises BadInput where it can be neither."""
    if "strategy" not in layer or OmegaConf.is_interpolation(layer, "strategy"):
        return
    given = layer.strategy
    if isinstance(given, str):
        layer.strategy = {"name": given}
    elif not isinstance(given, DictConfig):
        value = OmegaConf.to_container(given, resolve=False) if isinstance(given, ListConfig) else given
        raise BadInput(
            "strategy", value, "allowed: the name of one, or a section with its name and parameters"
        )


def _fault(error: YAMLError, text: str) -> tuple[str, str]:
    """Returns the place in ``text`` of an error of YAML, as ``:line:column``, and its reason in one line."""
    if not isinstance(error, MarkedYAMLError) or error.problem is None:
        return "", " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
    lines = text.splitlines()
    if mark is not None and mark.line < len(lines) and lines[mark.line][mark.column :].startswith("\t"):
        return place, "a tab is no indentation; allowed: spaces"
    return place, " ".join(part for part in (error.problem, error.context) if part)


def _over(below: DictConfig, layer: DictConfig) -> DictConfig:
    """``layer`` over ``below``. Where it names another strategy or checker, the old one's parameters go;
    where it gives a budget, so does the one in another unit. An endpoint that is no section is its URL."""
    for section in ("generator", "judge"):
        url = OmegaConf.select(layer, f"{section}.endpoint")
        if url is not None and not isinstance(url, DictConfig):
            layer = OmegaConf.merge(layer, {section: {"endpoint": None}})  # type: ignore[assignment]
            layer[section].endpoint = {"url": str(url)}
    name = OmegaConf.select(layer, "strategy.name")
    if name is not None and name != OmegaConf.select(below, "strategy.name"):
        below.strategy = {}
    checker = OmegaConf.select(layer, "problems.answers.name", throw_on_resolution_failure=False)
    if checker is not None and checker != OmegaConf.select(below, "problems.answers.name"):
        below.problems.answers = None
    if OmegaConf.select(layer, "generator.step_delimiter") is not None:
        below.generator.step_delimiter = None  # a text, a list and an expression do not merge
    if any(OmegaConf.select(layer, f"budget.{unit}") is not None for unit in UNITS):
        below.budget = OmegaConf.merge(below.budget, dict.fromkeys(UNITS))
    # Neither is copied again: ``below`` is this function's own, and a layer may be that of many cells.
    return OmegaConf.unsafe_merge(below, deepcopy(layer))  # type: ignore[return-value]


def explained(
    error: Exception, merged: DictConfig, layer: DictConfig | None = None, schema: type = Config
) -> BadInput:
    """Returns OmegaConf's error as one line that names the key, the value and what is allowed. ``layer`` is
    what could not be laid over ``merged``, in which the key is looked for where the error names none."""
    key = str(getattr(error, "full_key", None) or "config")
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    if key == "config" and layer is not None and isinstance(error, (ValidationError, TypeError)):
        found = misplaced(OmegaConf.to_container(layer, resolve=False), schema)
        if found is not None:
            return BadInput(*found, allowed_at(found[0], schema))
    if isinstance(error, ConfigKeyError):
        parent = OmegaConf.select(merged, key.rpartition(".")[0]) if "." in key else merged
        known = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
        if "." not in key and (meant := sections_with(key)):
            return UnknownKey(key, f"did you mean {' or '.join(meant)}? {one_of(known)}")
        return UnknownKey(key, one_of(known, key.rpartition(".")[2]) if known else message)
    if isinstance(error, MissingMandatoryValue):
        return BadInput(key, None, "this key has no default: give it a value")
    if isinstance(error, ValidationError):
        with suppress(LookupError):
            message = allowed_at(key, schema)
        value = getattr(error, "value", None)
        value = value._value() if isinstance(value, ValueNode) else value
        return BadInput(key, message if value is None and key == "config" else value, message)
    if isinstance(error, KeyValidationError):
        needed = 'allowed: texts; YAML reads a word such as No or on as one only in "quotes"'
        return BadInput(key, message, needed)
    if isinstance(error, InterpolationResolutionError):
        return BadInput(key, "${...}", message)
    return BadInput(key, message, "allowed: valid YAML and resolvable ${...} interpolations")
