"""The generator: a language model that continues prompts by one step, one thought, or to the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from actors.engine_jobs import Generated, Job, JobOutcome
from actors.engine_options import MAX_SEED, sampling_params
from actors.hub import HubAccess
from actors.messages import Failure, Finish, Request, Result, SampleRequest, SampleResult
from actors.replica import Replica
from actors.stops import Stops, check_texts

PIECE = 32
"""Tokens of a piece of a step that ends by a regular expression."""
SPREAD = 0x9E3779B97F4A7C15
"""An odd number that spreads the seeds of a step's pieces."""


class GeneratorActor(Replica):
    """Answers ``SampleRequest`` with ``SampleResult``. Create it with ``ray.remote(GeneratorActor)``.

    A request's tokens depend only on its prompt, seed and sampling values where the engine is
    deterministic (float32 on a CPU): not on the replica, the batch or the cache. Output also ends, as
    ``"length"``, where prompt + output fill the model's context.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        step_delimiter: str | Sequence[str],
        step_pattern: str | None = None,
        end_of_thinking: str | None = None,
        stop: Sequence[str] = (),
        sampling: Mapping[str, float] | None = None,
        dtype: str = "float32",
        seed: int = 0,
        engine: dict[str, Any] | None = None,
        adapter: str | None = None,
        hub: HubAccess | None = None,
    ) -> None:
        """Loads ``model`` (see ``Replica``). Raises ValueError if a delimiter, the marker or a stop is empty.

        A step ends with ``step_delimiter``, or any of several, or by its length alone if there is none; a
        thought ends with the marker ``end_of_thinking``, a solution also with a text of ``stop``. All are
        part of the result. ``sampling`` are more fields of vLLM's ``SamplingParams`` by name.

        With ``step_pattern`` a step ends with the token with which this regular expression first matches. An
        engine cannot stop at one, so a step is sampled in pieces of up to ``PIECE`` tokens, and what a piece
        holds beyond the match is dropped.
        """
        check_texts(step_delimiter, end_of_thinking, stop)  # before the model is loaded
        super().__init__(
            name,
            model,
            dtype=dtype,
            seed=seed,
            engine=engine,
            adapter=adapter,
            hub=hub,
        )
        self._sampling = dict(sampling or {})
        self._stops = Stops.of(self._engine.tokenizer, step_delimiter, end_of_thinking, stop)
        self._pattern = re.compile(step_pattern) if step_pattern is not None else None

    def job(self, key: str, request: Request) -> Job | Result:
        if not isinstance(request, SampleRequest):
            raise TypeError(f"a generator answers no {type(request).__name__}")
        return Job(
            key, self.check_tokens(request.prompt), self._params(request, 0), request, request.priority
        )

    def _params(self, request: SampleRequest, done: int) -> Any:
        """The parameters of a request of which ``done`` tokens are there."""
        most = request.max_tokens - done
        return sampling_params(
            # Each piece has a seed of its own, or all would draw the same numbers.
            seed=(request.seed + done * SPREAD) & MAX_SEED,
            max_tokens=min(PIECE, most) if self._in_pieces(request) else most,
            temperature=request.temperature,
            top_p=request.top_p,
            logprobs=request.logprobs,
            others=self._sampling,
            **self._stops.at(request.until).arguments,
        )

    def _in_pieces(self, request: SampleRequest) -> bool:
        return self._pattern is not None and request.until == "step"

    def probe(self, key: str) -> Job:
        request = SampleRequest(id=key, prompt=(0,), seed=0, max_tokens=1, until="end")
        return Job(key, [0], sampling_params(seed=0, max_tokens=1), request)

    def results(self, outcomes: list[JobOutcome]) -> list[tuple[str, Result | Failure]]:
        done: list[tuple[str, Result | Failure]] = []
        again: list[Job] = []
        for sample in outcomes:
            if not isinstance(sample, Generated):
                continue
            read = self._step if self._in_pieces(sample.job.request) else self._result
            result = self.guarded(sample.job, partial(read, sample))
            if isinstance(result, Job):
                again.append(result)
            else:
                done.append((sample.job.key, result))
        if again:
            self._engine.add_again(again)
        return done

    def _step(self, piece: Generated) -> Result | Failure | Job:
        """The step that a piece ends, or the job of its next piece."""
        assert self._pattern is not None
        job, request = piece.job, piece.job.request
        earlier = tuple(job.prompt[len(request.prompt) :])
        tokens = earlier + piece.tokens
        logprobs = job.logprobs + piece.logprobs
        whole = replace(piece, tokens=tokens, logprobs=logprobs)
        for end in range(len(earlier) + 1, len(tokens) + 1):
            if self._pattern.search(self._engine.tokenizer.decode(list(tokens[:end]))):
                return SampleResult(
                    request.id, tokens[:end], "step", piece.computed_tokens, self.name, logprobs[:end]
                )
        if piece.finish == "length" and len(piece.tokens) == PIECE and len(tokens) < request.max_tokens:
            params = self._params(request, len(tokens))
            prompt = [*request.prompt, *tokens]
            spent = piece.computed_tokens
            return replace(job, prompt=prompt, params=params, spent=spent, logprobs=logprobs)
        return self._result(whole)

    def _result(self, sample: Generated) -> Result | Failure:
        finish: Finish
        if sample.finish == "length":
            finish = "length"
        elif sample.finish != "stop":
            return self.failure(sample.job.request, f"the engine ended it with {sample.finish!r}")
        else:
            finish = self._stops.finish(sample.job.request.until, sample.stop)
        return SampleResult(
            sample.job.request.id, sample.tokens, finish, sample.computed_tokens, self.name, sample.logprobs
        )
