"""The generator: a language model that continues prompts by one step, one thought, or to the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.engine import sampling_params
from actors.engine_jobs import Generated, Job, JobOutcome
from actors.messages import Failure, Finish, Request, Result, SampleRequest, SampleResult, Until
from actors.replica import Replica


@dataclass(frozen=True, slots=True)
class Stop:
    """How the engine is told to stop at a text (arguments of ``sampling_params``), and the stop reason that
    it gives then."""

    arguments: dict[str, Any]
    reason: int | str


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
        step_delimiter: str,
        end_of_thinking: str | None = None,
        dtype: str = "float32",
        seed: int = 0,
        engine: dict[str, Any] | None = None,
    ) -> None:
        """Load ``model`` (see ``Replica``); a step ends with ``step_delimiter``, a thought with the marker
        ``end_of_thinking``, which are kept.

        ValueError if the delimiter or the marker is empty.
        """
        for key, text in (("step_delimiter", step_delimiter), ("end_of_thinking", end_of_thinking)):
            if text == "":
                raise ValueError(f"{key}: '' is not usable; at least one character")
        super().__init__(name, model, dtype=dtype, seed=seed, engine=engine)
        tokenizer = self._engine.tokenizer
        self._stops: dict[Until, Stop] = {"step": stop_at(tokenizer, step_delimiter)}
        if end_of_thinking is not None:
            self._stops["thought"] = stop_at_marker(tokenizer, end_of_thinking)

    def job(self, key: str, request: Request) -> Job | Result:
        if not isinstance(request, SampleRequest):
            raise TypeError(f"a generator answers no {type(request).__name__}")
        if request.until == "thought" and "thought" not in self._stops:
            raise ValueError("no end_of_thinking was given to this generator")
        stop = self._stops.get(request.until)
        params = sampling_params(
            seed=request.seed,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            **(stop.arguments if stop is not None else {}),
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
        else:  # any other stop token is one more end-of-sequence id of the model's generation config
            until = sample.job.request.until
            finish = until if until != "end" and sample.stop == self._stops[until].reason else "end"
        return SampleResult(sample.job.request.id, sample.tokens, finish, sample.computed_tokens, self.name)


def stop_at(tokenizer: Any, text: str) -> Stop:
    """Stop where the output holds ``text``."""
    token = delimiter_token(tokenizer, text)
    return Stop({"stop_strings": [text]}, text) if token is None else Stop({"stop_token_ids": [token]}, token)


def stop_at_marker(tokenizer: Any, marker: str) -> Stop:
    """Stop at the end of thinking. A marker with a token of its own cannot be the first one sampled, nor
    can the end of the sequence (as in s1): going on after a suppressed marker adds at least a token."""
    token = tokenizer.get_added_vocab().get(marker)
    stop = stop_at(tokenizer, marker) if token is None else Stop({"stop_token_ids": [token]}, token)
    by_token = "stop_token_ids" in stop.arguments
    return Stop({**stop.arguments, "min_tokens": 1}, stop.reason) if by_token else stop


def delimiter_token(tokenizer: Any, delimiter: str) -> int | None:
    """The one token id that alone can produce ``delimiter``, or None if text has to be searched for it.

    With such a token the engine can stop at an id and need not turn every sample into text. It must be
    the only token of the vocabulary that contains any character of the delimiter. A delimiter that is
    not ASCII may be spread over tokens of single bytes, which decode to nothing readable: None.
    """
    # Decoded, not encoded: some tokenizers drop or merge a delimiter that stands alone.
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    sharing = [token for token, text in enumerate(texts) if any(char in text for char in delimiter)]
    alone = delimiter.isascii() and len(sharing) == 1 and texts[sharing[0]] == delimiter
    return sharing[0] if alone else None
