"""A run in words, for those who read it in MLflow: its name, its description, its tags, its problems."""

from __future__ import annotations

import hashlib
import inspect
import json
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.allocation.policy import COMPUTE_OPTIMAL, known_as
from orchestrator.analysis.words import percent
from orchestrator.budget.flops import hub_commit
from orchestrator.budget.units import in_flops
from orchestrator.config.preparation import Prepared
from orchestrator.config.schema import Config
from orchestrator.config.written import written
from orchestrator.errors import counted
from orchestrator.runs.markdown import code, shortened, table
from orchestrator.runs.results import Summary
from orchestrator.runs.results_file import MOST_SHOWN
from orchestrator.runs.summary_text import summary_rows
from orchestrator.strategies.registry import REGISTRY
from orchestrator.tracking.about import AGAIN, LONGEST_STUDY
from orchestrator.tracking.spool import Dataset

LONGEST_VALUE, LONGEST_WORDS = 60, 150
"""Characters of a parameter's value that are shown, and of a strategy with all of them."""
LONGEST_SOURCE = 2000
"""Characters of a key of the problems, as a template with examples: MLflow takes 65,535 of them all."""
ROLES = ("generator", "verifier", "reviser", "judge")
"""The sections that name a model."""
COMMIT_SECONDS = 5.0
"""Seconds that are waited for git."""


def strategy_words(section: Mapping[str, Any]) -> str:
    """Returns a strategy with its size, and with each parameter that differs from its default."""
    name = str(section["name"])
    known = inspect.signature(REGISTRY[name].search).parameters if name in REGISTRY else {}
    shown = [
        f"{key}={shortened(str(value), LONGEST_VALUE)}"
        for key, value in section.items()
        if key != "name" and (key == "n" or key not in known or value != known[key].default)
    ]
    return shortened(" ".join([Path(name).name, *shown]), LONGEST_WORDS)


def title(config: Config, summary: Summary | None = None, role: str = "cell") -> str:
    """Returns the name of a run: what is searched how, and then what it has found at what price."""
    asked = strategy_words(config.strategy) if role == "cell" else role
    if config.allocation.name != "uniform":
        asked += f" {config.allocation.name}"
    if summary is None:
        return f"{asked} · seed {config.seed}"
    accuracy = percent(summary.estimate(summary.rule), " %")
    flops = in_flops(summary.flops.spent / summary.problems)
    return f"{asked} · {accuracy} · {flops} a problem · seed {config.seed}"


def about(config: Config, problems: int) -> str:
    """Returns what a run does, in a line."""
    moved = "" if config.allocation.name == "uniform" else f", budget moved by {config.allocation.name}"
    return f"{strategy_words(config.strategy)} on {_setting(config, problems)}{moved}, seed {config.seed}"


def _setting(config: Config, problems: int) -> str:
    scored = "" if config.verifier.model is None else f", scored by {_model(config.verifier.model)}"
    asked = f"{counted(problems, 'problem')} of {config.problems.source}"
    return f"{asked}: {_model(config.generator.model)}{scored}"


def study(prepared: Prepared, run_id: str) -> str:
    """Returns what a run asks, for the description of its experiment, in a line of Markdown."""
    config = prepared.config
    asked = code(shortened(strategy_words(config.strategy), LONGEST_WORDS))
    on = _setting(config, len(prepared.problems))
    return _study(config, f"{asked} on {on}", ["ttc", "run", str(Path(config.runs) / run_id / "config.yaml")])


def study_of_sweep(config: Config, cells: Sequence[tuple[str, Prepared]]) -> str:
    """Returns what a sweep asks, as ``study`` does. ``cells`` are its labels with what each one runs."""
    labels = dict.fromkeys(label for label, _ in cells)
    asked = f"which of {code(shortened(', '.join(labels), LONGEST_WORDS))} is best"
    on = _setting(config, max(len(prepared.problems) for _, prepared in cells))
    runs = counted(len(cells), "run")
    file = Path(config.runs) / config.name / "sweep.yaml"
    return _study(config, f"{asked}, {runs} on {on}", ["ttc", "sweep", str(file)])


def _study(config: Config, asked: str, words: Sequence[str]) -> str:
    told, command = f"**{shortened(config.name, LONGEST_VALUE)}**: {asked}.", shlex.join(words)
    left = max(LONGEST_STUDY - len(command) - 20, LONGEST_WORDS)
    return f"{shortened(told, left)}{AGAIN}{code(command)}"


def parameters(config: Config) -> dict[str, Any]:
    """Returns the configuration as a run logs it: of a model of the hub, the revision is the commit that was
    read, also where a branch was asked for, or nothing."""
    told = written(config)
    for section in (told[role] for role in ROLES):
        if section["model"] is not None and not section.get("endpoint"):  # a server has a copy of its own
            section["revision"] = hub_commit(section["model"], section["revision"]) or section["revision"]
    return told


def tags(prepared: Prepared) -> dict[str, str]:
    """Returns what runs are filtered by."""
    config = prepared.config
    unit = prepared.budget.unit
    found = {
        "strategy": prepared.strategy.name,
        "generator": _model(config.generator.model),
        "verifier": _model(config.verifier.model),
        "allocation": config.allocation.name,
        "budget": f"{prepared.budget.amount:g} {unit}",
        "seed": str(config.seed),
        "problems": f"{config.problems.source} {config.problems.split}",
        "host": socket.gethostname(),
        "cluster": config.cluster.address or "this machine",
        "steered": "policy" if COMPUTE_OPTIMAL in (prepared.strategy.name, config.allocation.name) else "no",
    }
    if (commit := _commit()) is not None:
        found["mlflow.source.git.commit"] = commit
    return found


def tags_of_sweep(cells: Sequence[Prepared]) -> dict[str, str]:
    """Returns what sweeps are filtered by: each tag of its runs, with all the values that these have. The
    strategies have a name of their own, so that a filter for runs finds runs alone."""
    found: dict[str, dict[str, None]] = {}
    for prepared in cells:
        for key, value in tags(prepared).items():
            found.setdefault("strategies" if key == "strategy" else key, {})[value] = None
    return {key: shortened(", ".join(values), LONGEST_SOURCE) for key, values in found.items()}


def description(config: Config, run_id: str, summary: Summary | None = None) -> str:
    """Returns what a run is about, and what it has found once there is a ``summary``, in Markdown."""
    generator, verifier = _model(config.generator.model), _model(config.verifier.model)
    lines = [
        f"{code(strategy_words(config.strategy))} on problems of {code(config.problems.source)} "
        f"({config.problems.split}): generator {code(generator)}, verifier {code(verifier)}, "
        f"seed {config.seed}.",
        "",
    ]
    if summary is None:
        lines.append("It has not ended yet.")
    else:
        lines += table(["", ""], summary_rows(summary))
        lines += ["", f"The answers, problem by problem: the table `problems.json` (at most {MOST_SHOWN:,})."]
    lines += ["", "Once more: `ttc run config.yaml`, with the artifact of that name."]
    lines += [f"Its files: {code(str(Path(config.runs) / run_id))}."]
    return "\n".join(lines)


def dataset(prepared: Prepared) -> Dataset:
    """Returns the problems of a run as MLflow knows them: the same problems have the same digest."""
    sha = hashlib.sha256()
    for problem in prepared.problems:
        sha.update(json.dumps([problem.id, problem.prompt, problem.answer, *problem.also]).encode())
    asked = written(prepared.config)["problems"]
    named = Path(asked["path"]).name if asked["path"] else asked["source"]
    kept = {
        key: shortened(value, LONGEST_SOURCE) if isinstance(value, str) else value
        for key, value in asked.items()
        if value not in (None, {}, [])
    }
    source = json.dumps(kept)
    return Dataset(
        shortened(f"{named} {asked['split']}", LONGEST_WORDS),
        sha.hexdigest()[:16],
        source,
        len(prepared.problems),
    )


def _model(path: str | None) -> str:
    return "none" if path is None else known_as(path)


@cache  # a sweep asks once, not once a cell
def _commit() -> str | None:
    """The commit of the repository that the run was begun in; None where there is none, or no git."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
