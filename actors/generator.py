"""The generator: a language model that continues prompts by one step or to the end."""

from __future__ import annotations

from typing import Any

from actors.engine import Generated, Job, Outcome, sampling_params
from actors.messages import Failure, Finish, Request, Result, SampleRequest, SampleResult
from actors.replica import Replica


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
        dtype: str = "float32",
        seed: int = 0,
        engine: dict[str, Any] | None = None,
    ) -> None:
        """Load ``model`` (see ``Replica``); a step ends with ``step_delimiter``, which is kept.

        ValueError if the delimiter is empty.
        """
        if not step_delimiter:
            raise ValueError("step_delimiter: '' is not usable; at least one character")
        super().__init__(name, model, dtype=dtype, seed=seed, engine=engine)
        token = delimiter_token(self._engine.tokenizer, step_delimiter)
        self._stop: dict[str, Any] = (
            {"stop_strings": [step_delimiter]} if token is None else {"stop_token_ids": [token]}
        )
        self._stop_reason: int | str = step_delimiter if token is None else token

    def job(self, key: str, request: Request) -> Job | Result:
        if not isinstance(request, SampleRequest):
            raise TypeError(f"a generator answers no {type(request).__name__}")
        params = sampling_params(
            seed=request.seed,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            **(self._stop if request.until == "step" else {}),
        )
        return Job(key, self.check_tokens(request.prompt), params, request, request.priority)

    def probe(self, key: str) -> Job:
        request = SampleRequest(id=key, prompt=(0,), seed=0, max_tokens=1, until="end")
        return Job(key, [0], sampling_params(seed=0, max_tokens=1), request)

    def results(self, outcomes: list[Outcome]) -> list[tuple[str, Result | Failure]]:
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
            finish = "step" if sample.stop == self._stop_reason else "end"
        return SampleResult(sample.job.request.id, sample.tokens, finish, sample.computed_tokens, self.name)


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
