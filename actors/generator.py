"""The generator: a language model that continues prompts by one step, one thought, or to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.engine import sampling_params
from actors.engine_jobs import Generated, Job, JobOutcome
from actors.messages import Failure, Finish, Request, Result, SampleRequest, SampleResult
from actors.replica import Replica
from actors.stops import Stops, check_texts


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
        end_of_thinking: str | None = None,
        stop: Sequence[str] = (),
        sampling: Mapping[str, float] | None = None,
        dtype: str = "float32",
        seed: int = 0,
        engine: dict[str, Any] | None = None,
        adapter: str | None = None,
    ) -> None:
        """Loads ``model`` (see ``Replica``). Raises ValueError if a delimiter, the marker or a stop is empty.

        A step ends with ``step_delimiter``, or any of several, or by its length alone if there is none; a
        thought ends with the marker ``end_of_thinking``, a solution also with a text of ``stop``. All are
        part of the result. ``sampling`` are more fields of vLLM's ``SamplingParams`` by name.
        """
        check_texts(step_delimiter, end_of_thinking, stop)  # before the model is loaded
        super().__init__(name, model, dtype=dtype, seed=seed, engine=engine, adapter=adapter)
        self._sampling = dict(sampling or {})
        self._stops = Stops.of(self._engine.tokenizer, step_delimiter, end_of_thinking, stop)

    def job(self, key: str, request: Request) -> Job | Result:
        if not isinstance(request, SampleRequest):
            raise TypeError(f"a generator answers no {type(request).__name__}")
        params = sampling_params(
            seed=request.seed,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            others=self._sampling,
            **self._stops.at(request.until).arguments,
        )
        return Job(key, self.check_tokens(request.prompt), params, request, request.priority)

    def probe(self, key: str) -> Job:
        request = SampleRequest(id=key, prompt=(0,), seed=0, max_tokens=1, until="end")
        return Job(key, [0], sampling_params(seed=0, max_tokens=1), request)

    def results(self, outcomes: list[JobOutcome]) -> list[tuple[str, Result | Failure]]:
        return [
            (sample.job.key, self._result(sample)) for sample in outcomes if isinstance(sample, Generated)
        ]

    def _result(self, sample: Generated) -> Result | Failure:
        finish: Finish
        if sample.finish == "length":
            finish = "length"
        elif sample.finish != "stop":
            return self.failure(sample.job.request, f"the engine ended it with {sample.finish!r}")
        else:
            finish = self._stops.finish(sample.job.request.until, sample.stop)
        return SampleResult(sample.job.request.id, sample.tokens, finish, sample.computed_tokens, self.name)
