"""The versions of a node's environment: one place for each, the same files for all; pip finds them to fit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PLACES = {
    "cpu": ("Makefile", "cluster/README.md"),
    "gpu": (
        "README.md",
        "cluster/README.md",
        "cluster/Dockerfile",
        "cluster/ray-cluster.yaml",
        "cluster/gpu-check.sh",
    ),
}
FILES = ("constraints.txt", "constraints-cpu.txt", "constraints-gpu.txt")


def lines(name: str) -> list[str]:
    return [line for line in (ROOT / "cluster" / name).read_text().splitlines() if not line.startswith("#")]


def normal(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0].lower())


def pinned(name: str) -> list[str]:
    return [normal(line) for line in lines(name) if "==" in line]


@pytest.mark.parametrize("kind", PLACES)
def test_all_that_install_name_the_file_of_their_kind(kind):
    for place in PLACES[kind]:
        text = (ROOT / place).read_text()
        assert f"constraints-{kind}.txt" in text, place
        assert not re.search(r"-c \S*cluster/constraints\.txt", text), place


def test_nothing_is_pinned_twice():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    required += project["optional-dependencies"]["gpu"]
    exact = [normal(requirement) for requirement in required if "==" in requirement]
    shared, cpu, gpu = map(pinned, FILES)
    for kind in (cpu, gpu):
        names = [*exact, *shared, *kind]
        assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    for name in FILES[1:]:
        assert lines(name)[0] == "-c constraints.txt"
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines(name)[1:])


@pytest.mark.skipif(
    "TTC_RESOLVE" not in os.environ,
    reason="asks pip's resolver: minutes, and GBs where the index has no metadata apart from its wheels",
)
@pytest.mark.parametrize(("kind", "more"), [("cpu", ["torch==2.13.0+cpu"]), ("gpu", [])])
def test_pip_finds_the_versions_of_each_kind_to_fit(kind, more, tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--report", str(report), "-c", f"cluster/constraints-{kind}.txt", *more, f".[{kind}]"]
    environment = dict(os.environ)
    if kind == "gpu":  # PyPI's own torch, not a CPU build that lies on this machine
        environment |= {"PIP_CONFIG_FILE": os.devnull}
        environment.pop("PIP_FIND_LINKS", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert Path(report).stat().st_size
