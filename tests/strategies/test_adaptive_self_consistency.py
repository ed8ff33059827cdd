"""Adaptive self-consistency: when it stops, and what it goes by."""

from __future__ import annotations

import random
from fractions import Fraction
from types import SimpleNamespace

import pytest

from actors.messages import SampleRequest
from orchestrator.budget.ledger import Lease
from orchestrator.durability.journal import Journal
from orchestrator.errors import BadInput
from orchestrator.grading.grader import Grader
from orchestrator.grading.pool import TIMED_OUT, Outcome
from orchestrator.problems.problem import Problem
from orchestrator.runs.controller import Controller
from orchestrator.search.selection import rules
from orchestrator.strategies.adaptive_self_consistency import ahead
from orchestrator.strategies.registry import find, resolve
from tests.support.scripted import CODEC, EOS, ScriptedEngine, Write, letters, operations, setting


def in_turn(answers: str) -> Write:
    """The i-th sample is the i-th letter; a dot is cut at the length limit, so that it has no answer."""

    def write(request: SampleRequest, text: str, rng: random.Random) -> str:
        letter = answers[int(request.id.rpartition("/")[2]) % len(answers)]
        return "." * request.max_tokens if letter == "." else letter + EOS

    return write


@pytest.mark.parametrize(("leader", "second"), [(1, 0), (3, 0), (4, 0), (7, 2), (5, 5), (40, 24)])
def test_the_posterior_is_the_tail_of_the_beta(leader, second):
    # ∫ x^a (1 - x)^b from 1/2 to 1, by the terms of the polynomial, exactly.
    def integral(start: Fraction) -> Fraction:
        total, coefficient = Fraction(0), 1
        for k in range(second + 1):
            power = leader + k + 1
            total += Fraction((-1) ** k * coefficient) * (1 - start**power) / power
            coefficient = coefficient * (second - k) // (k + 1)
        return total

    assert ahead(leader, second) == pytest.approx(float(integral(Fraction(1, 2)) / integral(Fraction(0))))


@pytest.mark.parametrize(
    ("answers", "threshold", "sampled"),
    [
        ("a", 0.95, 4),  # 31/32 after four
        ("a", 0.99, 8),  # 127/128 needs six
        ("aaab", 0.95, 12),  # 3:1 is 81 %, 6:2 is 91 %, 9:3 is 95.4 %
        ("ab", 0.95, 16),  # never ahead
        ("....", 0.95, 16),  # no answer never votes
        ("...a", 0.9, 12),  # three votes of one answer: 94 %
        ("a", 1, 12),  # nothing can change after 9, which the third round reaches
    ],
)
async def test_it_stops_once_the_leader_is_hardly_in_doubt(answers, threshold, sampled):
    engine = ScriptedEngine(in_turn(answers))
    nodes = await find("adaptive_self_consistency")(
        operations(engine, verifier=None), n=16, width=4, threshold=threshold
    )
    assert len(engine.samples) == len(nodes) == sampled
    assert {request.until for request in engine.samples} == {"end"}
    assert not engine.scores, "it needs no verifier"


async def test_its_samples_are_the_first_of_best_of_n():
    few, all_ = ScriptedEngine(in_turn("aabaaaca")), ScriptedEngine(in_turn("aabaaaca"))
    nodes = await find("adaptive_self_consistency")(operations(few), n=16, width=3)
    best = await find("best_of_n")(operations(all_), n=16)
    assert [node.tokens for node in nodes] == [node.tokens for node in best[: len(nodes)]]
    assert len(nodes) < 16


async def searched(grader: Grader, write: Write, journal: Journal | None = None):
    engine = ScriptedEngine(write, jitter=random.Random(1))
    context = setting(engine, journal=journal)
    control = Controller(context, grader, Lease(10**9), rules=rules(scored=True, chains=False))
    search = resolve({"name": "adaptive_self_consistency", "n": 16, "width": 4})
    (result,) = await control.run([Problem("p", "1+1?", "a")], [CODEC.encode("1+1?")], search)
    return engine, result


class Halves:
    """Reads the whole text, and takes answers for one that differ in case only."""

    slow = True

    def extract(self, text: str) -> str | None:
        return text or None

    def key(self, answer: str) -> str:
        return answer.lower()

    def accepts(self, truth: str, answer: str) -> bool:
        return truth == answer.lower()


def pool_of(late: str = ""):
    """A pool in which whatever is read of texts with one of these letters takes too long."""

    def submit(function, items):
        import concurrent.futures

        future = concurrent.futures.Future()
        slow = function.__name__ == "_read"
        future.set_result(
            [
                Outcome(None, TIMED_OUT)
                if slow and any(letter in str(item[1]) for letter in late)
                else Outcome(function(*item))
                for item in items
            ]
        )
        return future

    return lambda: SimpleNamespace(submit=submit)


async def test_answers_vote_by_equivalence_and_not_as_they_are_written():
    engine, result = await searched(Grader(Halves(), pool=pool_of()), in_turn("aA"))
    assert len(engine.samples) == 4
    assert result.selected["majority"] == "A", "the first in the alphabet of two that are written as often"


async def test_an_answer_that_is_not_read_in_time_is_none_for_the_stop_and_is_counted_once():
    grader = Grader(Halves(), pool=pool_of(late="b"))
    engine, result = await searched(grader, in_turn("b"))
    assert len(engine.samples) == 16, "it cannot be known that they are equal"
    assert grader.counts == {"timed_out": 16}
    assert [solution.answer for solution in result.solutions] == ["b"] * 16, "an answer all the same"


async def test_a_resumed_search_stops_where_it_stopped(tmp_path):
    results = []
    for _ in range(2):
        journal = Journal(tmp_path / "journal.sqlite")
        engine, result = await searched(Grader(Halves(), pool=pool_of()), in_turn("aaab"), journal)
        journal.close()
        results.append((len(result.solutions), result.usage.flops, len(engine.samples)))
    (found, flops, sampled), again = results
    assert found == sampled < 16
    assert again == (found, flops, 0)


async def test_answers_are_of_this_problems_nodes_and_of_finished_ones():
    ops, other = (operations(ScriptedEngine(letters(2, length=2))) for _ in range(2))
    (step,) = await ops.sample(ops.root, 1)
    (whole,) = await ops.sample(step, 1)
    assert await ops.answers([step, whole, whole]) == [None, ops.text(whole), ops.text(whole)]
    _, stranger = await other.sample(other.root, 2, until="end")
    with pytest.raises(ValueError, match="no node of this problem"):
        await ops.answers([stranger])
    with pytest.raises(BadInput, match="nodes: 'a' is not usable"):
        await ops.answers("a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"n": 0}, "strategy.n: 0 is not usable; allowed: 1 or more"),
        ({"width": 0}, "strategy.width: 0 is not usable; allowed: 1 or more"),
        (
            {"threshold": 0.4},
            "strategy.threshold: 0.4 is not usable; allowed: 0.5 to 1 (stops where nothing can change)",
        ),
    ],
)
def test_its_parameters_are_checked(section, line):
    with pytest.raises(BadInput) as error:
        resolve({"name": "adaptive_self_consistency", **section})
    assert str(error.value) == line
