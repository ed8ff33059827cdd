"""The verifier: a reward model that scores every step of a path."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from actors.engine_jobs import Job, JobOutcome, Pooled
from actors.engine_options import token_classify_params
from actors.hub import HubAccess
from actors.messages import Failure, Request, Result, ScoreRequest, ScoreResult
from actors.reading import Reading
from actors.replica import Replica

_Path = tuple[tuple[int, ...], tuple[int, ...]]
"""The tokens of a path, and the positions where its steps end."""


class ScoreMemo:
    """Keeps scores of steps by the exact tokens up to the step's end; drops the least recently used first.

    The event loop reads it and the engine's thread writes it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._scores: OrderedDict[bytes, float] = OrderedDict()

    def get(self, prefix: bytes) -> float | None:
        """Returns the score, or None if it is not (or no longer) kept."""
        with self._lock:
            if (score := self._scores.get(prefix)) is not None:
                self._scores.move_to_end(prefix)
            return score

    def clear(self) -> None:
        """Drops all scores."""
        with self._lock:
            self._scores.clear()
            self._bytes = 0

    def put(self, prefix: bytes, score: float) -> None:
        """Keeps ``score``; the least recently used ones make room for it."""
        with self._lock:
            if self._scores.pop(prefix, None) is None:
                self._bytes += len(prefix) + _ENTRY_BYTES
            self._scores[prefix] = score
            while self._bytes > self._max_bytes and self._scores:
                oldest, _ = self._scores.popitem(last=False)
                self._bytes -= len(oldest) + _ENTRY_BYTES


_ENTRY_BYTES = 200  # a dict entry, a bytes header and a float


class VerifierActor(Replica):
    """Answers ``ScoreRequest`` with ``ScoreResult``. Create it with ``ray.remote(VerifierActor)``.

    Only new tokens are computed. The engine returns no rows for the cached prefix, so the scores of steps in
    it come from a memo of earlier answers. If a score is in neither, the request runs once more without the
    cache (``computed_tokens`` counts both runs). A request for a path that is being scored (a small model
    samples a step twice) waits for that score.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        reading: Reading = Reading(),  # noqa: B008
        dtype: str = "float32",
        seed: int = 0,
        engine: dict[str, Any] | None = None,
        memo_bytes: int = 64 << 20,
        hub: HubAccess | None = None,
    ) -> None:
        """Loads ``model`` (see ``Replica``) as a reward model whose outputs ``reading`` reads.

        Raises ValueError if it cannot read as many outputs as the model has.
        """
        self._reading = reading
        self._memo = ScoreMemo(memo_bytes)
        self._scoring: dict[_Path, str] = {}  # path that is being scored -> key of its job
        # key of a job -> its path, and the (key, id) of the other requests for it
        self._waiting: dict[str, tuple[_Path, list[tuple[str, str]]]] = {}
        super().__init__(
            name,
            model,
            dtype=dtype,
            seed=seed,
            engine=_merged(reading.engine(), engine or {}),
            hub=hub,
        )
        assert isinstance(self._first, Pooled)
        outputs = self._first.rows.shape[1]
        if outputs not in reading.outputs:
            raise ValueError(
                f"verifier.model: {model!r} has {outputs} outputs a token; "
                f"its format reads {' or '.join(map(str, reading.outputs))}"
            )

    def job(self, key: str, request: Request) -> Job | Result | None:
        if not isinstance(request, ScoreRequest):
            raise TypeError(f"a verifier answers no {type(request).__name__}")
        tokens = self.check_tokens(request.tokens)
        check_steps(request.step_ends, len(tokens))
        scores = self._recall(request, {})
        if None not in scores:  # a path sampled twice needs no engine
            return ScoreResult(request.id, scores, 0, self.name)  # type: ignore[arg-type]
        path = (request.tokens, request.step_ends)
        if (first := self._scoring.get(path)) is not None:
            self._waiting[first][1].append((key, request.id))
            return None
        job = Job(key, tokens, token_classify_params(read_cache=True), request, request.priority)
        self._scoring[path], self._waiting[key] = key, (path, [])
        return job

    def shared(self, key: str, result: Result | Failure) -> list[tuple[str, Result | Failure]]:
        return [(other, _again(result, id)) for other, id in self._ended(key)]

    def unshared(self, keys: list[str]) -> list[str]:
        alone = [key for key in keys if not self._waiting.get(key, (None, []))[1]]
        for key in alone:
            self._ended(key)
        return alone

    def _ended(self, key: str) -> list[tuple[str, str]]:
        """Ends the scoring of a job's path. Returns the (key, id) of the requests that waited for it."""
        path, others = self._waiting.pop(key, (None, []))
        if path is not None:
            del self._scoring[path]
        return others

    async def forget(self) -> None:
        await super().forget()
        self._memo.clear()

    def probe(self, key: str) -> Job:
        request = ScoreRequest(id=key, tokens=(0,), step_ends=(1,))
        return Job(key, [0], token_classify_params(read_cache=False), request)

    def results(self, outcomes: list[JobOutcome]) -> list[tuple[str, Result | Failure]]:
        pooled = [outcome for outcome in outcomes if isinstance(outcome, Pooled)]
        # All are read before any is completed: a path may need scores that another of the batch computed.
        fresh = [self.guarded(outcome.job, partial(self._read, outcome)) for outcome in pooled]
        done: list[tuple[str, Result | Failure]] = []
        again: list[Job] = []
        for outcome, scores in zip(pooled, fresh, strict=True):
            if isinstance(scores, Failure):
                done.append((outcome.job.key, scores))
                continue
            request = outcome.job.request
            known = self._recall(request, scores)
            if None not in known:
                result = ScoreResult(request.id, known, outcome.computed_tokens, self.name)  # type: ignore[arg-type]
                done.append((outcome.job.key, result))
            else:
                cold = token_classify_params(read_cache=False)
                again.append(replace(outcome.job, params=cold, spent=outcome.computed_tokens))
        if again:
            self._engine.add_again(again)
        return done

    def _read(self, outcome: Pooled) -> dict[int, float] | Failure:
        """Returns the scores in ``outcome.rows`` by step end, and puts them into the memo."""
        job, rows, cached = outcome.job, outcome.rows, outcome.cached_tokens
        if rows.shape[0] != len(job.prompt) - cached:
            return self.failure(
                job.request, f"{rows.shape[0]} rows for {len(job.prompt)} tokens, {cached} of them cached"
            )
        ends = [end for end in job.request.step_ends if end > cached]
        logits = rows[[end - 1 - cached for end in ends]].float().tolist()
        prefix = array("I", job.prompt).tobytes()
        scores: dict[int, float] = {}
        for end, row in zip(ends, logits, strict=True):
            score = self._reading(row)
            if not 0 <= score <= 1:  # NaN too
                return self.failure(
                    job.request,
                    f"the score of step {job.request.step_ends.index(end)} is {score} "
                    f"(it ends at token {end} of {len(job.prompt)}; logits {row})",
                )
            scores[end] = score
            self._memo.put(prefix[: 4 * end], score)
        return scores

    def _recall(self, request: ScoreRequest, fresh: dict[int, float]) -> tuple[float | None, ...]:
        """Returns the score of each step, from ``fresh`` (by step end) or the memo; None where unknown."""
        prefix = array("I", request.tokens).tobytes()
        return tuple(
            fresh[end] if end in fresh else self._memo.get(prefix[: 4 * end]) for end in request.step_ends
        )


def _merged(format: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """The engine options of the format with the user's over them, and with the overrides of both."""
    both = [options["hf_overrides"] for options in (format, user) if options.get("hf_overrides")]
    overrides = {"hf_overrides": {key: value for each in both for key, value in each.items()}} if both else {}
    return {**format, **user, **overrides}


def _again(result: Result | Failure, id: str) -> Result | Failure:
    """Returns the same result for the request ``id``, which computed nothing."""
    if isinstance(result, ScoreResult):
        return ScoreResult(id, result.scores, 0, result.replica)
    assert isinstance(result, Failure)
    return replace(result, id=id)


def check_steps(step_ends: Sequence[int], length: int) -> None:
    """Raises ValueError unless there is a step, the ends increase from 1 and the last is ``length``."""
    increasing = all(a < b for a, b in zip((0, *step_ends), step_ends, strict=False))
    if not step_ends or not increasing or step_ends[-1] != length:
        raise ValueError(f"step_ends {list(step_ends)} must increase from 1 up to the {length} tokens")
