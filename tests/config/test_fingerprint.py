"""Two configurations have one fingerprint exactly where their runs have the same results."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from orchestrator.config.engine_arguments import engine_arguments
from orchestrator.config.fingerprint import PERFORMANCE_OPTIONS, fingerprint
from orchestrator.config.loading import load
from orchestrator.config.schema import LAB_MODELS
from tests.support.paths import LAB_CONFIG, OWN_STRATEGY


def of(*overrides: str) -> str:
    """The fingerprint of the lab's configuration."""
    return fingerprint(load(LAB_CONFIG, overrides))


def test_the_fingerprint_is_of_what_determines_the_results():
    fast = ["generator.engine.max_num_seqs=7", "verifier.engine.gpu_memory_utilization=0.5"]
    assert of() == of("generator.replicas=9", "tracking.uri=x", "runs=elsewhere", "name=other", *fast)
    others = [
        "seed=1",
        "strategy.n=8",
        "budget.flops=1",
        "generator.temperature=0.5",
        "verifier.aggregation=min",
        "generator.engine.max_model_len=64",
        "generator.engine.quantization=fp8",
        "verifier.engine.max_model_len=64",
        "reviser.engine.max_model_len=64",
        "verifier.model=${lab:prm-weak}",
    ]
    assert len({of(), *(of(override) for override in others)}) == 1 + len(others)


def test_whether_shares_are_passed_on_makes_another_run_only_where_there_are_shares():
    assert of() != of("allocation.pass_on=false")
    rounds = [of("allocation.name=adaptive", f"allocation.pass_on={value}") for value in ("true", "false")]
    assert rounds[0] == rounds[1]


def test_what_only_says_how_fast_is_an_option_of_the_engine():
    assert engine_arguments() >= PERFORMANCE_OPTIONS


def test_a_model_is_the_same_wherever_it_is_and_another_once_it_is_trained_anew(tmp_path: Path):
    for name in ("here", "elsewhere"):
        shutil.copytree(LAB_MODELS / "generator-s", tmp_path / name)
    os.utime(tmp_path / "here" / "model.safetensors", (0, 0))
    here, elsewhere = (f"generator.model={tmp_path / name}" for name in ("here", "elsewhere"))
    assert of() == of(here) == of(elsewhere)
    (tmp_path / "here" / "README").write_text("no weights")
    assert of() == of(here)
    weights = tmp_path / "here" / "model.safetensors"
    contents = bytearray(weights.read_bytes())
    contents[len(contents) // 2] ^= 1
    weights.write_bytes(contents)
    assert of() != of(here)
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    assert of() != of(elsewhere)


def test_a_large_model_whose_middle_was_trained_anew_is_another(tmp_path: Path):
    shutil.copytree(LAB_MODELS / "generator-s", tmp_path / "large")
    large, weights = f"generator.model={tmp_path}/large", tmp_path / "large" / "model.safetensors"
    found = set()
    for changed in (0, 1):
        with weights.open("wb") as file:  # 40 MiB, nearly all of it a hole
            file.truncate(40 << 20)
            file.seek(20 << 20)
            file.write(bytes([changed]) * (4 << 20))
        found.add(of(large))
    assert len(found) == 2


def test_a_hub_models_commit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = []
    for commit in ("a" * 40, "b" * 40, None):
        cached = None if commit is None else str(tmp_path / "snapshots" / commit / "config.json")
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, cached=cached: cached)
        found.append(of("generator.model=owner/name"))
    assert len(set(found)) == 3


def test_the_engine_arguments_that_are_read_are_those_of_the_engine():
    from vllm.engine.arg_utils import EngineArgs  # it takes seconds to import

    assert engine_arguments() == {field.name for field in fields(EngineArgs)}


def test_a_users_files_may_be_moved_too(tmp_path: Path):
    moved = []
    for place in (tmp_path / "a", tmp_path / "b"):
        place.mkdir()
        shutil.copy(OWN_STRATEGY, place)
        own = f"strategy={{name: '{place}/own_strategy.py:until_two_agree'}}"
        moved.append(of(own, "problems.source=jsonl", f"problems.path={place}/problems.jsonl"))
    assert moved[0] == moved[1] != of()
