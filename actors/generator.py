"""The generator: a language model that continues prompts by one step, one thought, or to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.engine import sampling_params
from actors.engine_jobs import Generated, Job, JobOutcome
from actors.messages import Failure, Finish, Request, Result, SampleRequest, SampleResult, Until
from actors.replica import Replica


@dataclass(frozen=True, slots=True)
class Stop:
    """Tells the engine where to stop: at tokens, and at texts."""

    tokens: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    min_tokens: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``sampling_params``."""
        return {
            "stop_token_ids": self.tokens,
            "stop_strings": self.texts,
            "min_tokens": self.min_tokens,
        }

    def __contains__(self, reason: object) -> bool:
        """Tells whether the engine's reason for a stop is one of these."""
        return reason in self.tokens or reason in self.texts

    def __or__(self, other: Stop) -> Stop:
        """Returns the stop at either."""
        least = max(self.min_tokens, other.min_tokens)
        return Stop(self.tokens + other.tokens, self.texts + other.texts, least)


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
        delimiters = (step_delimiter,) if isinstance(step_delimiter, str) else tuple(step_delimiter)
        marker = (end_of_thinking,)
        for key, texts in (("step_delimiter", delimiters), ("end_of_thinking", marker), ("stop", stop)):
            if "" in texts:
                raise ValueError(f"{key}: '' is not usable; at least one character")
        super().__init__(name, model, dtype=dtype, seed=seed, engine=engine, adapter=adapter)
        tokenizer = self._engine.tokenizer
        self._sampling = dict(sampling or {})
        end = Stop(texts=tuple(stop))
        # What stops a request of each kind, and what of that is more than an end.
        self._marks: dict[Until, Stop] = {"end": Stop()}
        self._marks["step"] = Stop()
        for delimiter in delimiters:
            self._marks["step"] |= stop_at(tokenizer, delimiter)
        if end_of_thinking is not None:
            self._marks["thought"] = stop_at_marker(tokenizer, end_of_thinking)
        self._stops = {
            until: mark if until == "thought" else mark | end for until, mark in self._marks.items()
        }

    def job(self, key: str, request: Request) -> Job | Result:
        if not isinstance(request, SampleRequest):
            raise TypeError(f"a generator answers no {type(request).__name__}")
        if request.until not in self._stops:
            known = "no end_of_thinking was given to this generator; " if request.until == "thought" else ""
            raise ValueError(f"until: {request.until!r}; {known}allowed: {', '.join(self._stops)}")
        params = sampling_params(
            seed=request.seed,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            others=self._sampling,
            **self._stops[request.until].arguments,
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
        else:  # another stop token is an end-of-sequence id of the model's generation config
            until = sample.job.request.until
            finish = until if sample.stop in self._marks[until] else "end"
        return SampleResult(sample.job.request.id, sample.tokens, finish, sample.computed_tokens, self.name)


def stop_at(tokenizer: Any, text: str) -> Stop:
    """Returns the stop at the first ``text`` in the output."""
    token = delimiter_token(tokenizer, text)
    return Stop(texts=(text,)) if token is None else Stop(tokens=(token,))


def stop_at_marker(tokenizer: Any, marker: str) -> Stop:
    """Returns the stop at the marker that ends the model's thinking.

    If the marker is one token, neither it nor the end of the sequence can be sampled first (as in s1,
    Muennighoff et al. 2025, section 3.1): each continuation after a suppressed marker has a token at least.
    """
    token = tokenizer.get_added_vocab().get(marker)
    stop = stop_at(tokenizer, marker) if token is None else Stop(tokens=(token,))
    return replace(stop, min_tokens=1) if stop.tokens else stop


def delimiter_token(tokenizer: Any, delimiter: str) -> int | None:
    """Returns the token id that alone can produce ``delimiter``, or None if text has to be searched for it.

    With such a token the engine stops at an id and need not turn every sample into text. It must be the only
    token of the vocabulary that contains any character of the delimiter. A delimiter that is not ASCII may be
    spread over tokens of single bytes, which decode to nothing readable; then None is returned.
    """
    # Decoded, not encoded: some tokenizers drop or merge a delimiter that stands alone.
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    sharing = [token for token, text in enumerate(texts) if any(char in text for char in delimiter)]
    alone = delimiter.isascii() and len(sharing) == 1 and texts[sharing[0]] == delimiter
    return sharing[0] if alone else None
