"""What one request does wrong fails that request, with the place, and no other one: without an engine."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from actors.engine import EngineThread, FirstPassError, _outcome
from actors.engine_jobs import Generated, Job, Pooled, Refused
from actors.faults import last_frame, one_line, reason
from actors.generator import GeneratorActor
from actors.messages import Failure, SampleRequest, SampleResult, ScoreRequest, ScoreResult
from actors.outbox import Outbox
from actors.printed import telling
from actors.replica import Replica
from actors.stops import Stop, Stops
from actors.verifier import ScoreMemo, VerifierActor

STOPS = Stops({"end": Stop(), "step": Stop(tokens=(9,))}, {"end": (), "step": ("\n",)}, ())


class Engine:
    """Takes jobs; its tokenizer knows no token above 5."""

    vocab_size = 10

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.tokenizer = SimpleNamespace(decode=lambda ids: "abcdef"[max(ids)])

    def add(self, jobs: Sequence[Job]) -> None:
        self.jobs += jobs

    add_again = add


def without_engine(kind: type[Replica], **more: Any) -> Any:
    replica = object.__new__(kind)
    keys = (f"r{n}" for n in range(100))
    loop = asyncio.get_running_loop()
    common = {"name": "replica-0", "model": "m", "_keys": keys, "_live": {}, "_pings": {}, "_loop": loop}
    vars(replica).update(common, _outbox=Outbox(), _engine=Engine(), **more)
    return replica


def sample(id: str) -> SampleRequest:
    return SampleRequest(id, (1,), 0, 64)


async def collected(replica: Any, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    replica._engine.load = lambda: None
    while len(found) < count:
        found |= {each.id: each for each in await asyncio.wait_for(replica.collect(), 5) if each is not None}
    return found


async def test_a_request_whose_job_cannot_be_made_fails_alone():
    class Own(GeneratorActor):
        def _params(self, request: SampleRequest, done: int) -> Any:
            return {"good": 1}[request.id]

    replica = without_engine(Own)
    await replica.submit([sample("bad"), sample("good")])
    assert [job.request.id for job in replica._engine.jobs] == ["good"]
    (failure,) = (await collected(replica, 1)).values()
    assert isinstance(failure, Failure)
    assert re.search(
        r"^replica-0 \(m\), request bad: KeyError: 'bad' \(\S*test_faults\.py:\d+ in _params\)$",
        failure.error,
    )


async def test_a_step_that_cannot_be_read_fails_alone():
    replica = without_engine(GeneratorActor, _pattern=re.compile("b"), _stops=STOPS)
    replica._params = lambda request, done: None
    await replica.submit([sample("bad"), sample("good")])
    bad, good = replica._engine.jobs
    replica._on_outcomes([Generated(bad, (8,), "length", None, 1), Generated(good, (1,), "length", None, 1)])
    found = await collected(replica, 2)
    assert isinstance(found["good"], SampleResult)
    assert "request bad: IndexError: string index out of range (" in found["bad"].error


async def test_a_score_that_cannot_be_read_fails_alone_and_those_who_wait_for_it(monkeypatch):
    monkeypatch.setattr("actors.verifier.token_classify_params", lambda *, read_cache: None)

    def reading(row: list[float]) -> float:
        return 1 / row[0]

    replica = without_engine(
        VerifierActor, _reading=reading, _memo=ScoreMemo(1 << 20), _scoring={}, _waiting={}
    )
    asked = [
        ScoreRequest("bad", (1, 2), (2,)),
        ScoreRequest("same", (1, 2), (2,)),
        ScoreRequest("good", (3,), (1,)),
    ]
    await replica.submit(asked)
    import torch

    bad, good = replica._engine.jobs
    rows = [torch.tensor([[0.0], [0.0]]), torch.tensor([[2.0]])]
    replica._on_outcomes([Pooled(bad, rows[0], 0, 2), Pooled(good, rows[1], 0, 1)])
    found = await collected(replica, 3)
    assert isinstance(found["good"], ScoreResult)
    assert found["good"].scores == (0.5,)
    for id in ("bad", "same"):
        assert isinstance(found[id], Failure)
        assert "ZeroDivisionError: float division by zero (" in found[id].error
    assert not replica._scoring
    assert not replica._waiting


async def test_an_engine_that_fails_says_why_before_its_process_ends(monkeypatch):
    order: list[str] = []

    class Failing(EngineThread):
        def _build(self) -> Any:
            return SimpleNamespace()

    replica = without_engine(GeneratorActor, last_word=0.0)
    replica._engine.load = lambda: None
    monkeypatch.setattr("actors.engine._die", lambda message: order.append("ended"))

    def on_failure(why: str) -> None:
        order.append("said")
        replica._on_failure(why)

    engine = Failing({}, replica._on_outcomes, on_failure=on_failure)
    engine.forget()  # which this engine cannot do
    notice, _ = await asyncio.wait_for(replica.collect(), 5)
    engine._thread.join(5)
    assert order == ["said", "ended"]
    assert re.search(
        r"^the engine failed: AttributeError: .* \(\S*engine\.py:\d+ in _scheduler\)$", notice.line
    )


def test_an_engine_that_fails_in_its_first_pass_raises_why_and_does_not_end_the_process(monkeypatch):
    class Failing(EngineThread):
        def _build(self) -> Any:
            return SimpleNamespace()

        def _take_orders(self, engine: Any) -> bool:
            with self._inbox.changed:
                self._inbox.changed.wait_for(lambda: self._inbox.orders, 5)
            raise RuntimeError("no kernel image is available")

    monkeypatch.setattr("actors.engine._die", lambda message: pytest.fail(message))
    engine = Failing({}, lambda outcomes: None)
    with pytest.raises(FirstPassError) as failed:
        engine.run_alone(Job("first", [1], None, sample("first")))
    engine._thread.join(5)
    assert str(failed.value) == "the model's first pass failed: RuntimeError: no kernel image is available"
    text = "".join(traceback.format_exception(failed.value))
    assert last_frame(text).endswith("in _take_orders")
    line = reason(RayError(text))
    assert line == "FirstPassError: the model's first pass failed: RuntimeError: no kernel image is available"


@pytest.mark.parametrize("output", [SimpleNamespace(outputs=[]), SimpleNamespace(outputs=[None])])
def test_an_output_that_cannot_be_read_refuses_its_job(output):
    job = Job("r0", [1], None, sample("bad"))
    outcome = _outcome(output, job, 1)
    assert isinstance(outcome, Refused)
    assert outcome.job is job
    assert re.search(r"Error: .* \(\S*engine\.py:\d+ in _outcome\)", outcome.error)


def test_a_message_that_begins_with_empty_lines_is_told():
    assert one_line(ValueError("\n\n  it broke\nmore")) == "ValueError: it broke"


def test_a_progress_bar_and_a_huge_line_are_told_in_few_characters():
    (bar,) = telling(["\rLoading:   0%\rLoading:  50%\rLoading: 100%\n"])
    assert bar == "Loading: 100%"
    (line,) = telling(["RuntimeError: " + "x" * 100_000])
    assert line == "RuntimeError: " + "x" * 286
