from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray
import torch
from transformers import Qwen2ForCausalLM

from actors.messages import MAX_TEMPERATURE, Failure, Load, Request, SampleResult
from tests.support.calls import answers, collect, sample, score
from tests.support.shared_engines import BLOCK
from tests.support.tiny_models import EOS, MAX_LEN, NEWLINE, SEMICOLON, SYMBOLS

PROMPTS = [tuple(1 + (7 * i + j) % 12 for j in range(10 + i)) for i in range(24)]


def tokens_of(results: list[Any]) -> list[tuple[int, ...]]:
    return [result.tokens for result in results]


def test_a_seed_gives_the_same_tokens_on_any_replica_and_in_any_batch(generator: Any, other: Any) -> None:
    requests = [sample(prompt, seed, until="end") for seed, prompt in enumerate(PROMPTS)]
    together = tokens_of(answers(generator, requests))
    assert together == tokens_of(answers(generator, requests[::-1]))[::-1]  # now from a warm cache
    assert together == tokens_of(answers(other, requests))  # at most 6 at once
    assert together[:2] == [answers(generator, [request])[0].tokens for request in requests[:2]]
    reseeded = [msgspec.structs.replace(request, seed=request.seed + 100) for request in requests]
    assert together != tokens_of(answers(generator, reseeded))


def test_a_seed_gives_the_same_tokens_where_steps_are_scheduled_ahead(
    generator: Any, asynchronous: Any
) -> None:
    assert ray.get(asynchronous.steps_in_flight.remote()) == 2
    dropped = sample(PROMPTS[0], 7, 100, until="end")
    ray.get([asynchronous.submit.remote([dropped]), asynchronous.abort.remote([dropped.id])])
    for until in ("step", "thought", "end"):
        requests = [
            sample(prompt, seed, 1 + 6 * seed, until=until, logprobs=True)
            for seed, prompt in enumerate(PROMPTS)
        ]
        expected, found = (results_of_all(replica, requests) for replica in (generator, asynchronous))
        assert [said[:3] for said in found] == [said[:3] for said in expected]
        # A token that ends a sample is known only after the next step is scheduled, which is counted.
        for (tokens, finish, _, computed), prompt in zip(found, PROMPTS, strict=True):
            if len(prompt) < BLOCK:  # else blocks of it may be cached
                assert computed - (len(prompt) + len(tokens) - 1) == (finish != "length")
    assert {finish for _, finish, _, _ in found} == {"end", "length"}


def results_of_all(replica: Any, requests: list[Any]) -> list[tuple[Any, ...]]:
    return [(r.tokens, r.finish, r.logprobs, r.computed_tokens) for r in answers(replica, requests)]


def test_the_seed_may_be_any_integer(generator: Any) -> None:
    for seed in (-1, 2**64 + 3):
        requests = [sample(PROMPTS[5], seed, until="end") for _ in range(2)]
        first, second = tokens_of(answers(generator, requests))
        assert first == second


def test_a_step_ends_with_its_delimiter_a_solution_with_the_end_token(generator: Any) -> None:
    steps = answers(generator, [sample(prompt, 1, 100) for prompt in PROMPTS])
    ends = answers(generator, [sample(prompt, 2, 200, until="end") for prompt in PROMPTS])
    assert {"step"} < {result.finish for result in steps}
    assert {"end"} <= {result.finish for result in ends} <= {"end", "length"}
    for result in steps + ends:
        stop = {"step": NEWLINE, "end": EOS, "length": result.tokens[-1]}[result.finish]
        assert result.tokens[-1] == stop
        assert EOS not in result.tokens[:-1]
        assert result.replica == "generator"
    assert all(NEWLINE not in result.tokens[:-1] for result in steps)
    assert any(NEWLINE in result.tokens for result in ends)


def test_length(generator: Any) -> None:
    results = answers(generator, [sample(prompt, 3, 1) for prompt in PROMPTS])
    assert all(len(result.tokens) == 1 for result in results)
    assert "length" in {result.finish for result in results}
    (full,) = answers(generator, [sample((5,) * (MAX_LEN - 1), 3, 99)])
    assert len(full.tokens) == 1  # the context ends there


def test_a_delimiter_of_several_tokens_keeps_the_sampled_tokens(other: Any) -> None:
    results = answers(other, [sample(prompt, seed, 120) for seed in range(4) for prompt in PROMPTS])
    steps = [result for result in results if result.finish == "step"]
    assert steps
    assert all(result.tokens[-2:] == (SEMICOLON, NEWLINE) for result in steps)
    pairs = [pair for result in results for pair in zip(result.tokens, result.tokens[1:], strict=False)]
    assert pairs.count((SEMICOLON, NEWLINE)) == len(steps)


def test_a_thought_ends_with_its_marker_and_one_of_a_single_token_cannot_be_empty(
    generator: Any, other: Any
) -> None:
    one, two = SYMBOLS.index("1"), SYMBOLS.index("2")
    requests = [sample(prompt, seed, 100, until="thought") for seed in range(4) for prompt in PROMPTS]
    for replica, marker in ((generator, (SEMICOLON,)), (other, (one, two))):
        results = answers(replica, requests)
        thoughts = [result.tokens for result in results if result.finish == "thought"]
        assert thoughts
        assert all(tokens[-len(marker) :] == marker for tokens in thoughts)
        assert {result.finish for result in results} <= {"thought", "end", "length"}
        found = [zip(*(result.tokens[i:] for i in range(len(marker))), strict=False) for result in results]
        assert sum(list(each).count(marker) for each in found) == len(thoughts)
        if len(marker) == 1:
            assert all(len(result.tokens) > 1 for result in results)


def test_greedy_is_hugging_faces_greedy(generator: Any, generator_path: Path) -> None:
    model = Qwen2ForCausalLM.from_pretrained(generator_path, dtype=torch.float32).eval()
    results = answers(generator, [sample(p, 0, 15, until="end", temperature=0.0) for p in PROMPTS[:8]])
    for prompt, result in zip(PROMPTS, results, strict=False):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *result.tokens]])).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == list(result.tokens)


def test_log_probabilities_are_the_models_own_before_temperature(
    generator: Any, generator_path: Path
) -> None:
    model = Qwen2ForCausalLM.from_pretrained(generator_path, dtype=torch.float32).eval()
    plain = [sample(prompt, 4, 15, until="end", temperature=1.5) for prompt in PROMPTS[:8]]
    asked = answers(generator, [msgspec.structs.replace(each, logprobs=True) for each in plain])
    assert tokens_of(asked) == tokens_of(answers(generator, plain)), "the same samples"
    for prompt, result in zip(PROMPTS, asked, strict=False):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *result.tokens]])).logits[0]
        expected = logits[len(prompt) - 1 : -1].log_softmax(-1)[range(len(result.tokens)), result.tokens]
        assert result.logprobs == pytest.approx(expected.tolist(), abs=2e-4)
    again = answers(generator, [msgspec.structs.replace(plain[0], logprobs=True)])
    assert again[0].logprobs == asked[0].logprobs, "alone and in a batch"


def test_computed_tokens_leave_out_the_cached_prefix(generator: Any) -> None:
    ray.get(generator.forget.remote())
    prompt = tuple(1 + (j * j) % 11 for j in range(80))
    first, again = (answers(generator, [sample(prompt, 9, 4, until="end")])[0] for _ in range(2))
    assert first.computed_tokens == 80 + len(first.tokens) - 1
    assert again.computed_tokens == 1 + len(again.tokens) - 1  # the prompt's last token has to be
    ray.get(generator.forget.remote())
    (forgotten,) = answers(generator, [sample(prompt, 9, 4, until="end")])
    assert forgotten.computed_tokens == first.computed_tokens


def test_bad_requests_fail_in_one_line_and_the_replica_lives(generator: Any) -> None:
    bad: list[Request] = [
        sample(()),
        sample((len(SYMBOLS),)),
        sample((-1,)),
        sample((1.5,)),  # type: ignore[arg-type]
        sample((1,) * MAX_LEN),
        sample((1,), max_tokens=0),
        sample((1,), temperature=float("nan")),
        sample((1,), top_p=0.0),
        sample((1,), temperature=2.01),
        sample((1,), until="typo"),  # type: ignore[arg-type]
        sample((1,), temperature="hot"),  # type: ignore[arg-type]
        score((1, 2), 2),
    ]
    good = sample(PROMPTS[0], temperature=MAX_TEMPERATURE)
    *failures, result = answers(generator, [*bad, good])
    assert isinstance(result, SampleResult)
    for request, failure in zip(bad, failures, strict=True):
        assert isinstance(failure, Failure), request
        assert request.id in failure.error
        assert "generator" in failure.error
        assert "\n" not in failure.error
    for failure, words in zip(failures, ["empty", "15", "-1", "integer", "256", "max_tokens"], strict=False):
        assert words in failure.error


def test_a_short_request_is_collected_before_a_long_one_is_done(generator: Any) -> None:
    long, short = sample((5,), 0, 250, until="end", temperature=0.0), sample((5,), 1, 2)
    ray.get(generator.submit.remote([long, short]))
    assert [result.id for result in collect(generator, 2)] == [short.id, long.id]


def test_a_lower_priority_is_served_first(other: Any) -> None:
    queue = [sample((5,), seed, 40, until="end", temperature=0.0, priority=3) for seed in range(24)]
    urgent = sample((5,), 0, 40, until="end", temperature=0.0, priority=1)
    ray.get(other.submit.remote([*queue, urgent]))
    order = [result.id for result in collect(other, len(queue) + 1)]
    assert order.index(urgent.id) < 6  # as many as run at once


def test_an_aborted_request_gives_no_result(generator: Any) -> None:
    doomed = [sample((5,), 0, 250, until="end", temperature=0.0) for _ in range(3)]
    kept = sample((5,), 1, 250, until="end", temperature=0.0)
    ray.get(generator.submit.remote([*doomed, kept]))
    ray.get(generator.abort.remote([request.id for request in doomed] + ["unknown"]))
    (result,) = collect(generator, 1)
    assert result.id == kept.id
    assert answers(generator, doomed[:1])[0].tokens == result.tokens  # an aborted id may come again
    finished = sample((5,), 1, 1)
    ray.get(generator.submit.remote([finished]))
    ray.get(generator.ping.remote())
    ray.get(generator.abort.remote([finished.id]))  # done, but not collected
    assert [result.id for result in answers(generator, [kept])] == [kept.id]


def test_requests_sent_twice_are_answered_once(generator: Any) -> None:
    requests = [sample(prompt, 4) for prompt in PROMPTS]
    ray.get([generator.submit.remote(requests), generator.submit.remote(requests)])
    results = collect(generator, len(requests))
    assert sorted(result.id for result in results) == sorted(request.id for request in requests)


def test_a_cancelled_collect_loses_nothing(generator: Any) -> None:
    waiting = generator.collect.remote()
    ready, _ = ray.wait([waiting], timeout=0.3)
    assert not ready
    ray.cancel(waiting)
    with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.RayTaskError)):
        ray.get(waiting, timeout=10)
    assert len(answers(generator, [sample(PROMPTS[0])])) == 1


def test_info_and_ping(generator: Any, other: Any) -> None:
    info, few = ray.get([generator.info.remote(), other.info.remote()])
    assert (info.name, info.max_model_len, few.max_num_seqs) == ("generator", MAX_LEN, 6)
    assert info.kv_cache_tokens > MAX_LEN
    assert info.pid != few.pid
    assert 0 < ray.get(generator.ping.remote()) < 10


def test_a_replica_says_with_its_results_what_its_engine_holds(generator: Any) -> None:
    requests = [sample(PROMPTS[i % 24], i, until="end") for i in range(40)]
    ray.get(generator.submit.remote(requests))
    loads: list[Load] = []
    left = len(requests)
    while left:
        *results, load = ray.get(generator.collect.remote(), timeout=120)
        left -= len(results)
        loads.append(load)
    assert all(isinstance(load, Load) for load in loads)
    assert 1 < max(load.running for load in loads) <= len(requests)
    assert loads[-1].running > 0, "what ended in the last step ran in it"
    assert (loads[-1].waiting, loads[-1].preemptions) == (0, 0)
    assert 0 < loads[0].kv_usage < 1


def test_computed_tokens_count_what_a_preempted_request_computes_again(cramped: Any) -> None:
    requests = [sample(PROMPTS[i], i, 200, until="end", temperature=0.0) for i in range(8)]
    ray.get(cramped.submit.remote(requests))
    results: dict[str, SampleResult] = {}
    load = Load(0, 0, 0.0, 0)
    while len(results) < len(requests):
        *found, load = ray.get(cramped.collect.remote(), timeout=120)
        results |= {result.id: result for result in found}
    assert load.preemptions > 0
    again = [
        results[request.id].computed_tokens - len(request.prompt) - len(results[request.id].tokens) + 1
        for request in requests
    ]
    assert min(again) == 0, "not all were preempted"
    assert max(again) > 0
