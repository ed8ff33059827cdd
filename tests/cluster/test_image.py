"""cluster/Dockerfile, as far as it runs without a container engine: what the layer of the packages copies is
enough for pip, it survives an edit of the source, and the context is small."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from docker.utils.build import PatternMatcher, exclude_paths

from tests.support.paths import ROOT

STEPS = re.sub(r"^#.*\n", "", (ROOT / "cluster" / "Dockerfile").read_text(), flags=re.MULTILINE)
PACKAGES, FINAL = re.split(r"^FROM ", STEPS, flags=re.MULTILINE)[1:]
IGNORED = [
    line
    for line in (ROOT / "cluster" / "Dockerfile.dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
]


def copied(stage: str) -> dict[str, str]:
    """What a stage copies from the context, and whereto."""
    found = {}
    for line in re.findall(r"^COPY (?!--from)(.*)$", stage, re.MULTILINE):
        *files, target = line.split()
        found |= dict.fromkeys(files, target)
    return found


def context() -> set[str]:
    """The files of this checkout that are sent to the engine."""
    return {name for name in exclude_paths(str(ROOT), IGNORED) if (ROOT / name).is_file()}


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """The directory of the packages' stage, where pip and make run."""
    for name, target in copied(PACKAGES).items():
        (tmp_path / target).mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / target)
    return tmp_path


def test_the_context_is_what_is_committed_of_the_package_and_small():
    files = context()
    for name in ("pyproject.toml", "actors/replica.py", "orchestrator/runs/run.py", "cluster/run-or-resume"):
        assert name in files
    assert "configs/models/qwen3-4b-thinking.yaml" in files, "the base of Kubernetes' example"
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    rooms = ("actors/", "orchestrator/", "configs/")
    assert {name for name in kept.stdout.splitlines() if name.startswith(rooms)} <= files
    assert len(files) < 700
    assert sum((ROOT / name).stat().st_size for name in files) < 32e6, "bytes"


@pytest.mark.parametrize(
    "name",
    [
        ".git/HEAD",
        ".venv/bin/python",
        ".env",
        "build/model.safetensors",
        "runs/a/journal.sqlite",
        "configs/runs/a/journal.sqlite",
        "tests/conftest.py",
        "ttc.egg-info/PKG-INFO",
        ".mypy_cache/x",
        "actors/__pycache__/replica.cpython-311.pyc",
        "orchestrator/runs/__pycache__/run.cpython-311.pyc",
        "mlflow.db",
        "cluster/kubernetes/run/my.yaml",
    ],
)
def test_nothing_else_is_sent(name):
    assert PatternMatcher(IGNORED).matches(name)


def test_an_edit_of_the_source_leaves_the_layer_of_the_packages():
    files = set(copied(PACKAGES))
    assert files <= context()
    assert not any(name.endswith(".py") or (ROOT / name).is_dir() for name in files)
    assert copied(FINAL) == {".": "."}
    assert FINAL.index("COPY --from=packages") < FINAL.index("COPY . .")


def test_pip_takes_the_package_from_what_the_layer_has(layer):
    for extra in ("cpu", "gpu"):
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-build-isolation"]
        command += ["--ignore-installed", "-c", f"cluster/constraints-{extra}.txt", f".[{extra}]"]
        done = subprocess.run(command, cwd=layer, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Would install ttc-" in done.stdout
    (layer / "pyproject.toml").unlink()
    assert subprocess.run(command, cwd=layer, capture_output=True).returncode != 0


def test_only_the_extra_that_was_asked_for_is_installed(layer):
    (setup,) = re.findall(r"make setup .*?(?=;)", PACKAGES)
    said = subprocess.run(
        [*shlex.split(setup), "--dry-run"], cwd=layer, capture_output=True, text=True, check=True
    )
    assert '-c cluster/constraints-cpu.txt -e ".[cpu]"' in said.stdout
    assert "dev" not in said.stdout.replace("/dev/", "")
    assert '-c cluster/constraints-gpu.txt -e ".[gpu]"' in PACKAGES
    assert "--no-deps -e ." in FINAL


def test_the_last_stage_has_no_tools_of_development_and_runs_ttc_as_a_user():
    installed = re.findall(r"--no-install-recommends (.*?) &&", FINAL)
    assert installed == ["g++"], "Triton and torch compile while they run"
    assert 'ENTRYPOINT ["ttc"]' in FINAL
    assert "USER 1000" in FINAL, "a number: Kubernetes checks runAsNonRoot by it"
    (links,) = re.findall(r"ln -s (.*) /usr/local/bin/", FINAL)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {Path(link).name for link in links.split()} == {"ray", "run-or-resume", *scripts}
    assert "org.opencontainers.image.licenses" in FINAL


def test_the_health_check_asks_an_address_that_rays_agent_answers():
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    from ray.dashboard.modules.reporter import healthz_agent

    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\S+?)'", FINAL)[0]
    assert int(port) == DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    assert f'"{path}"' in Path(healthz_agent.__file__).read_text()
