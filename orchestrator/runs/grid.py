"""Multiplies out and checks the cells of a sweep: a run's configuration and a ``sweep:`` section.

Pure: reads and checks configurations, models' shapes and problems; starts nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.config.loading import SWEEP, build, explained, layers, merged
from orchestrator.config.preparation import Prepared, PromptCache, prepare
from orchestrator.config.schema import Config, DifficultyConfig, SweepConfig
from orchestrator.config.written import changed
from orchestrator.errors import BadInput, UnknownKey, at_least
from orchestrator.masking import masked_value

SHARED = ("name", "runs", "tracking", "cluster")
"""Sections that belong to the whole sweep: no cell may have its own."""
MODELS = ("generator.", "verifier.")
"""The beginnings of the keys that choose a cell's models."""
KEY_LENGTH = 100
OWN_SHARES = {"allocation.pass_on": False}
"""What a sweep's cells have by default: they compare what a budget a problem buys, so none gets another's."""
OF_CONFIG = {field.name for field in fields(Config)}
"""Keys of a configuration, which may be taken for a strategy's own."""


@dataclass
class _Section:
    sweep: SweepConfig = field(default_factory=SweepConfig)


@dataclass(frozen=True)
class GridCell:
    """One run of a sweep."""

    key: str
    """Its name, from its overrides alone."""
    role: str
    """``cell`` or ``difficulty``."""
    label: str
    """The overrides that distinguish it, apart from budget and seed."""
    overrides: Mapping[str, Any]
    prepared: Prepared

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return self.prepared.config


@dataclass(frozen=True)
class Grid:
    """A checked sweep."""

    cells: Sequence[GridCell]
    source: str
    """The text of a file that gives the same sweep again."""

    @property
    def config(self) -> Config:
        """The configuration of a cell, for what all of them share."""
        return self.cells[0].config

    @property
    def directory(self) -> Path:
        """The directory of the sweep's runs."""
        return Path(self.config.runs) / self.config.name


def read(path: Path | str, overrides: Sequence[str] = ()) -> Grid:
    """Returns the sweep of a file and ``key=value`` overrides (``sweep.difficulty=null`` too).

    The cells share their problems and prompts. Raises BadInput, naming the cell where only one is wrong.
    """
    grid, faults = examined(path, overrides)
    for key, error in faults:
        raise error.within(f"cell {key}") from error
    return grid


def examined(path: Path | str, overrides: Sequence[str] = ()) -> tuple[Grid, list[tuple[str, BadInput]]]:
    """Returns the sweep of a file with the cells that are right, and what is wrong with each other one, by
    its key. Raises BadInput for what is wrong with the whole."""
    stack = [_layer(OWN_SHARES), *layers(path, overrides)]
    section = _section([layer.pop(SWEEP) for layer in stack if SWEEP in layer])
    if not (section.strategies or section.grid or section.models):
        raise BadInput(SWEEP, str(path), "needed: a section with strategies, grid or models")
    base = merged(stack)
    cache = PromptCache()
    cells, faults = [], []
    for given in _product(section):
        for name, value in given.items():
            if name.partition(".")[0] in SHARED:
                raise BadInput(f"{SWEEP}: {name}", value, "the cells of a sweep share this section")
        try:
            cells.append(_cell(stack, given, "cell", cache))
        except BadInput as error:
            faults.append((_key(given, "cell"), error))
    if section.difficulty is not None:
        seed = section.difficulty.seed
        if any(cell.config.seed == seed for cell in cells):
            # best_of_n's samples would be the very ones that bin its problems.
            raise BadInput(f"{SWEEP}.difficulty.seed", seed, "allowed: a seed that no cell has")
        cells = ([] if faults else _difficulty(stack, section, section.difficulty, cache)) + cells
    keys = [cell.key for cell in cells]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise BadInput(SWEEP, twice, "this cell is there twice; allowed: each combination once")
    source = {**_plain(base), SWEEP: _plain(OmegaConf.structured(section))}
    return Grid(cells, OmegaConf.to_yaml(OmegaConf.create(changed(source, masked_value)))), faults


def _section(given: Sequence[Any]) -> SweepConfig:
    whole = OmegaConf.structured(_Section)
    try:
        for each in given:
            whole = OmegaConf.merge(whole, {SWEEP: each})
        plain = _plain(whole)[SWEEP]
    except (OmegaConfBaseException, TypeError) as error:  # a mapping over a list is a TypeError
        raise explained(error, whole, _layer({SWEEP: each}), _Section) from error
    difficulty = plain.pop("difficulty")
    section = SweepConfig(**plain, difficulty=None if difficulty is None else DifficultyConfig(**difficulty))
    section.strategies = [{"name": s} if isinstance(s, str) else s for s in section.strategies]
    for name in ("strategies", "models"):
        for each in getattr(section, name):
            if not isinstance(each, dict):
                of = "names and mappings" if name == "strategies" else "mappings"
                raise BadInput(f"{SWEEP}.{name}", each, f"allowed: a list of {of}")
    for key, values in section.grid.items():
        if not isinstance(values, list) or not values:
            raise BadInput(f"{SWEEP}.grid.{key}", values, "allowed: a list of one value or more")
    if section.difficulty is not None:
        at_least(f"{SWEEP}.difficulty.samples", section.difficulty.samples, 1)
    return section


def _product(section: SweepConfig) -> Iterator[dict[str, Any]]:
    """The overrides of each cell: models, then the grid's first key, vary slowest; strategies fastest."""
    for models in section.models or [{}]:
        columns = [list(_of_strategy(each, section.grid)) for each in section.strategies or [{}]]
        for row in itertools.zip_longest(*columns):
            yield from ({**models, **overrides} for overrides in row if overrides is not None)


def _of_strategy(strategy: Mapping[str, Any], grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A strategy over the grid and its own keys with a dot: a list of values there is an axis, and takes the
    place of the grid's."""
    own = {key: value for key, value in strategy.items() if "." not in key}
    apart = {
        key: value if isinstance(value, list) else [value] for key, value in strategy.items() if "." in key
    }
    axes = {**apart, **{key: values for key, values in grid.items() if key not in apart}}
    for values in itertools.product(*axes.values()):
        yield {**({"strategy": own} if own else {}), **dict(zip(axes, values, strict=True))}


def _difficulty(
    stack: Sequence[DictConfig], section: SweepConfig, asked: DifficultyConfig, cache: PromptCache
) -> list[GridCell]:
    """Best-of-N under a seed of its own, once for each pair of models of the grid, with a budget that pays
    for all. The samples of models that a strategy brings with it are not needed: these bin its problems."""
    own = {
        "strategy": {"name": "best_of_n", "n": asked.samples},
        "allocation.name": "uniform",
        "budget.generations": asked.samples,
        "budget.solution_tokens": None,
        "seed": asked.seed,
    }
    found: dict[object, GridCell] = {}
    grid = {key: values for key, values in section.grid.items() if key.startswith(MODELS)}
    for each in _product(replace(section, strategies=[], grid=grid)):
        kept = {key: value for key, value in each.items() if key.startswith(MODELS)}
        try:
            cell = _cell(stack, kept | own, "difficulty", cache)
        except BadInput as error:
            raise error.within(f"cell {_key(kept | own, 'difficulty')}") from error
        found.setdefault((cell.config.generator.model, cell.config.verifier.model), cell)
    return list(found.values())


def _cell(
    stack: Sequence[DictConfig], overrides: Mapping[str, Any], role: str, cache: PromptCache
) -> GridCell:
    try:
        prepared = prepare(build([*stack, _layer(overrides)]), cache)
    except BadInput as error:
        section, _, name = error.key.partition(".")
        if section != "strategy" or name not in OF_CONFIG or isinstance(error, UnknownKey):
            raise
        where = "an axis of sweep.grid" if name == "seed" else f"given here with a dot, as {name}.KEY"
        needed = f"{error.allowed}; the configuration's {name} is {where}"
        raise BadInput(error.key, error.value, needed) from error
    label = " ".join(_words(overrides, label=True)) or "run"
    return GridCell(_key(overrides, role), role, label, overrides, prepared)


def _layer(overrides: Mapping[str, Any]) -> DictConfig:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``, interpolations kept."""
    layer = OmegaConf.create({})
    for key, value in overrides.items():
        OmegaConf.update(layer, key, value, force_add=True)
    return layer


def _key(overrides: Mapping[str, Any], role: str) -> str:
    """A name for a directory: readable, and never the same for two cells."""
    digest = hashlib.sha256(json.dumps(overrides, sort_keys=True, default=str).encode()).hexdigest()[:6]
    shown = overrides if role == "cell" else {k: v for k, v in overrides.items() if k.endswith(".model")}
    words = [] if role == "cell" else [role]
    words += [re.sub(r"[^\w.=-]", "", word) for word in _words(shown, label=False)]
    return "-".join(["-".join(words)[:KEY_LENGTH], digest])


def _words(overrides: Mapping[str, Any], *, label: bool) -> Iterator[str]:
    """Yields the words that tell a cell from others: the strategy, its own parameters, models, and the rest
    of the grid; in a ``label`` without budget and seed."""
    strategy = dict(overrides.get("strategy", {}))
    if "name" in strategy:
        yield Path(str(strategy.pop("name"))).name
    for name, value in strategy.items():
        if not str(value).startswith("${"):
            yield f"{name}={value}"
    for name, value in overrides.items():
        section, _, last = name.rpartition(".")
        if name == "strategy" or (label and (section == "budget" or name == "seed")):
            continue
        # A model is told by which of the models it is and by its directory's name.
        what = section.rpartition(".")[2] if last in ("model", "name") else last
        yield f"{what}={re.split(r'[/:]', str(value).rstrip('/}'))[-1]}"


def _plain(node: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(node, resolve=False)  # type: ignore[return-value]
