"""Reuse by the token on real engines: the same results as reuse by the block, and nothing computed twice."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ray
import torch

from actors.messages import SampleRequest, SampleResult
from orchestrator.formats.texts import shared_length
from tests.support.calls import answers, sample, score
from tests.support.shared_engines import BLOCK
from tests.support.tiny_models import NEWLINE


def prompt(seed: int, length: int) -> tuple[int, ...]:
    rng = random.Random(seed)
    return tuple(rng.randrange(1, NEWLINE) for _ in range(length))


def children(parents: list[tuple[int, ...]], n: int, seed: int) -> list[SampleRequest]:
    return [sample(parent, seed + i, 9) for i, parent in enumerate(parents) for _ in range(n)]


def grown(requests: list[SampleRequest], results: list[SampleResult]) -> list[tuple[int, ...]]:
    return [(*request.prompt, *result.tokens) for request, result in zip(requests, results, strict=True)]


def test_a_tree_is_computed_once_and_to_the_same_tokens(generator: Any, by_block: Any) -> None:
    ray.get(generator.forget.remote())
    roots = [prompt(seed, length) for seed, length in enumerate((5, 31, 32, 33, 43, 64, 70))]
    requests = children(roots, 8, 100)
    requests = [sample(r.prompt, 1000 + i, 9) for i, r in enumerate(requests)]
    results = answers(generator, requests)
    assert [r.tokens for r in results] == [r.tokens for r in answers(by_block, requests)]
    # The first of eight siblings computes their prompt, the others its last token, which has to be.
    new = sum(len(result.tokens) - 1 for result in results)
    assert sum(result.computed_tokens for result in results) == new + sum(map(len, roots)) + 7 * len(roots)
    for depth in range(8):
        parents = grown(requests, results)[::5][:12]
        requests = [sample(parent, 2000 + 10 * depth + i, 9) for parent in parents for i in range(5)]
        results = answers(generator, requests)
        assert [r.tokens for r in results] == [r.tokens for r in answers(by_block, requests)]
        assert [r.computed_tokens for r in results] == [len(r.tokens) for r in results]
    assert max(len(request.prompt) for request in requests) > 3 * BLOCK


def test_siblings_share_a_prefill_that_waited_itself_for_what_all_prompts_begin_with(generator: Any) -> None:
    ray.get(generator.forget.remote())
    stem, ends = prompt(25, 40), [(i, *prompt(26 + i, 34)) for i in range(1, 4)]
    requests = [sample((*stem, *end), 100 * i + k, 5) for i, end in enumerate(ends) for k in range(4)]
    results = answers(generator, requests)
    new = sum(len(result.tokens) - 1 for result in results)
    siblings = 3 * len(ends)  # each computes its prompt's last token, which has to be
    assert sum(result.computed_tokens for result in results) == new + 40 + 35 * len(ends) + siblings


def test_a_prompt_that_leaves_another_within_a_block_reuses_it_up_to_there(generator: Any) -> None:
    ray.get(generator.forget.remote())
    stem, ends = prompt(20, 45), ((1, 2, 3) * 15, (4, 5, 6) * 15, ())
    (first, second, third) = (answers(generator, [sample((*stem, *end), 1, 5)])[0] for end in ends)
    assert first.computed_tokens == 90 + len(first.tokens) - 1
    assert second.computed_tokens == 45 + len(second.tokens) - 1  # it leaves a block that is full
    assert third.computed_tokens == 1 + len(third.tokens) - 1


def test_what_ends_at_a_stop_string_is_reused_too(other: Any) -> None:
    """Its delimiter is two tokens: vLLM ends such a sample by aborting it."""
    root, seed = prompt(30, 45), 0
    for _ in range(2):
        ray.get(other.forget.remote())  # an idle engine holds no block: nothing is left of the first time
        tokens, known, steps = root, 0, 0
        while steps < 4 and len(tokens) < 200:
            seed += 1
            (result,) = answers(other, [sample(tokens, seed, 120)])
            again = len(tokens) - known if known < len(tokens) else 1  # the last token has to be computed
            assert result.computed_tokens == again + len(result.tokens) - 1
            known = len(tokens)
            if result.finish == "step":
                # The last token of a sample is not computed until something follows it.
                tokens, known, steps = (
                    (*tokens, *result.tokens),
                    len(tokens) + len(result.tokens) - 1,
                    steps + 1,
                )
        assert steps > 1


def test_what_an_engine_short_of_blocks_gives_up_is_computed_again(tight: Any) -> None:
    ray.get(tight.forget.remote())
    prompts = [(1 + i % 13, 1 + i // 13, *prompt(300 + i, 40)) for i in range(40)]

    def reused(tokens: tuple[int, ...]) -> int:
        (result,) = answers(tight, [sample(tokens, 0, 1)])
        return len(tokens) - result.computed_tokens

    assert max(map(reused, prompts)) <= 1  # but for a first token that repeats
    assert reused(prompts[-1]) == 41
    assert reused(prompts[-2]) == 41
    assert reused(prompts[0]) <= 1


def test_an_engine_short_of_blocks_finds_the_same_tokens(by_block: Any, tight: Any) -> None:
    rng = random.Random(7)
    frontier = [prompt(400 + i, 20 + 3 * i) for i in range(6)]
    for depth in range(6):
        requests = [
            sample(parent, 50 * depth + i, rng.choice((3, 30)), until=rng.choice(("step", "end")))
            for parent in frontier
            for i in range(5)
        ]
        results = answers(tight, requests)
        assert [r.tokens for r in results] == [r.tokens for r in answers(by_block, requests)]
        frontier = rng.sample(grown(requests, results), 6)


def test_what_was_aborted_keeps_no_block(tight: Any) -> None:
    doomed = [sample(prompt(500 + i, 40), i, 200, until="end", temperature=0.0) for i in range(20)]
    ray.get(tight.submit.remote(doomed))
    ray.get(tight.ping.remote())  # they run
    ray.get(tight.abort.remote([request.id for request in doomed]))
    ray.get(tight.ping.remote())
    ray.get(tight.forget.remote())  # which vLLM refuses while any block is in use
    again = sample(doomed[0].prompt, 0, 1)
    assert answers(tight, [again])[0].computed_tokens == 40


def test_paths_scored_at_once_share_the_first_ones_prompt(verifier: Any) -> None:
    ray.get(verifier.forget.remote())
    stem = prompt(600, 100)
    paths = [(*stem, *prompt(601 + i, 50)) for i in range(12)]
    results = answers(verifier, [score(path, 100, 150) for path in paths])
    shared = [shared_length(paths[0], path) for path in paths[1:]]
    assert sum(result.computed_tokens for result in results) == 150 + sum(150 - n for n in shared)
    ray.get(verifier.forget.remote())
    apart = [answers(verifier, [score(path, 100, 150)])[0] for path in paths[:3]]
    assert [result.scores for result in apart] == [result.scores for result in results[:3]]


def tails(**changes: Any) -> Any:
    """A connector without an engine."""
    from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    from actors.block_reuse import PartialBlockConnector

    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=8, dtype=torch.float32)
    values: dict[str, Any] = {
        "cache_config": SimpleNamespace(block_size=BLOCK, enable_prefix_caching=True),
        "kv_transfer_config": SimpleNamespace(),
        "speculative_config": None,
        "max_concurrent_batches": 1,
        "scheduler_config": SimpleNamespace(enable_chunked_prefill=False),
    }
    cache = SimpleNamespace(kv_cache_groups=[SimpleNamespace(kv_cache_spec=spec)], num_blocks=6)
    return PartialBlockConnector(SimpleNamespace(**values | changes), KVConnectorRole.WORKER, cache)  # type: ignore[arg-type]


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """Call it in another process: vLLM is never imported into this one, where other tests train models."""
    return ray.get(ray.remote(num_cpus=0)(function).remote(*args))


def copied(sources: list[int], targets: list[int]) -> list[float]:
    from actors.block_reuse import Copies

    connector, cache = tails(), torch.arange(6.0).reshape(6, 1).repeat(1, 4)
    connector.register_kv_caches({"a": cache, "shared with a": cache})
    connector.bind_connector_metadata(Copies(sources, targets))
    connector.start_load_kv(None)
    return cache[:, 0].tolist()


def test_copies_read_before_they_write(shared_ray: None) -> None:
    assert apart(copied, [1, 2, 5], [2, 1, 5]) == [0, 2, 1, 3, 4, 5]


def register(shape: tuple[int, ...], changes: dict[str, Any]) -> str:
    try:
        tails(**changes).register_kv_caches({"layer": torch.zeros(shape)})
    except ValueError as error:
        return str(error)
    return "taken"


OFF = {"cache_config": SimpleNamespace(block_size=BLOCK, enable_prefix_caching=False)}


def test_a_cache_that_is_not_made_of_blocks_is_refused(shared_ray: None) -> None:
    refused = apart(register, (2, 6, 4), {})
    assert re.search(r"kv_transfer_config: .*layer.*\(2, 6, 4\) for 6 blocks.*null", refused)
    assert apart(register, (6, 2, 4), {}) == "taken"
    assert apart(register, (2, 6, 4), OFF) == "taken"  # it will not be copied


def applies(changes: dict[str, Any]) -> bool:
    connector = tails(**changes)
    if not connector._applies:
        assert connector.get_num_new_matched_tokens(SimpleNamespace(), 0) == (0, False)
    return connector._applies


def test_nothing_is_reused_where_it_is_not_known_to_be_right(shared_ray: None) -> None:
    larger = {"cache_config": SimpleNamespace(block_size=2 * BLOCK, enable_prefix_caching=True)}
    chunks = {"scheduler_config": SimpleNamespace(enable_chunked_prefill=True)}
    others = (OFF, larger, chunks, {"speculative_config": SimpleNamespace()}, {"max_concurrent_batches": 2})
    assert [apart(applies, changes) for changes in ({}, *others)] == [True, *(False for _ in others)]
