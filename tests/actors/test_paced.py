"""A paced engine says what its model says, and takes the device's time for it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import ray

from orchestrator.benchmarks.paced import A10G, Device
from tests.support.calls import answers, sample, score
from tests.support.shared_engines import PARAMETERS

STEP_SECONDS = 0.1
"""Of A10G at that size, for few tokens."""


def test_a_step_takes_what_is_longer_reading_the_weights_or_computing() -> None:
    device = Device("", flops=1e12, bandwidth=1e9)
    assert device.seconds(5e8, 1) == device.seconds(5e8, 1000) == 1.0
    assert device.seconds(5e8, 3000) == 3.0
    assert A10G.seconds(PARAMETERS, 8) == pytest.approx(STEP_SECONDS)


def timed(actor: Any, requests: list[Any]) -> tuple[list[Any], float]:
    """The answers of a replica once it is up, and the seconds until all were here."""
    ray.get(actor.info.remote())
    began = time.perf_counter()
    found = answers(actor, requests)
    return found, time.perf_counter() - began


def test_a_paced_generator_samples_the_same_in_the_devices_time(generator: Any, paced_generator: Any) -> None:
    requests = [sample((1, 2, 3, 4), seed, 6, until="end") for seed in range(3)]
    expected = answers(generator, requests)
    found, seconds = timed(paced_generator, requests)
    assert [result.tokens for result in found] == [result.tokens for result in expected]
    assert seconds >= STEP_SECONDS * max(len(result.tokens) for result in found)


def test_a_paced_verifier_scores_the_same_in_the_devices_time(verifier: Any, paced_verifier: Any) -> None:
    requests = [score((1, 2, 3, 4, 5), 3, 5)]
    (expected,) = answers(verifier, requests)
    (found,), seconds = timed(paced_verifier, requests)
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)
    assert seconds >= STEP_SECONDS
