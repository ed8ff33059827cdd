"""How a sample is asked of an OpenAI-compatible server, and how its answer becomes one. No I/O.

``TokenDialect`` speaks token ids both ways, as vLLM does: paths are continued exactly. ``TextDialect`` gets
text, which is tokenized here. ``ChatDialect`` writes whole solutions only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.messages import Finish, SampleRequest, SampleResult, Until, kept_logprob
from actors.stops import Stops

MAX_SEED = (1 << 63) - 1
"""The largest seed that servers take."""

MOST_TOKENS = 1 << 31
"""A server that counts more of one request miscounts."""

OFF: Mapping[str, float] = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Sampling values that change nothing. They are sent where the server knows them: its own defaults may be
the model's."""


@dataclass(frozen=True)
class ChatFrame:
    """What stands around a question, for a server that puts its own chat template around messages."""

    turns: tuple[Mapping[str, str], ...]
    """Messages before the question."""
    before: str
    """The text of a prompt before the question, in the model's chat template."""
    after: str
    """The text after it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template."""
    unheeded: tuple[str, ...] = ()
    """Keys of the configuration that such a server cannot heed."""

    def question(self, prompt: str) -> str:
        """Returns the question of a prompt. Raises ValueError where the prompt is anything else than one."""
        if not (prompt.startswith(self.before) and prompt.endswith(self.after)):
            raise ValueError(
                "this server only chats, and can continue no path: it writes whole solutions (best_of_n, "
                "revisions)"
            )
        return prompt[len(self.before) : len(prompt) - len(self.after)]


@dataclass(frozen=True)
class Writer:
    """What is the same in all requests to a server."""

    replica: str
    """Name of the replica."""
    served: str
    """Name of the model at the server."""
    tokenizer: Any
    """The generator's own."""
    stops: Stops
    sampling: Mapping[str, float]
    """Sampling values by name, where they are on."""
    frame: ChatFrame | None = None
    """None where prompts are no chats."""
    section: str = "generator"
    """Section of the configuration, for messages."""
    max_model_len: int | None = None
    """The longest prompt and output together; None where that is not known."""
    logprobs: bool = False
    """Whether the run asks for the log-probabilities of tokens."""

    def ids(self, text: str) -> tuple[int, ...]:
        """Returns the token ids of a text that follows others."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens, special ones included."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False)

    def room(self, request: SampleRequest) -> int:
        """Returns how many tokens may be asked for: as an engine, a server ends where its context is full.

        Raises ValueError where there is no room for one.
        """
        if self.max_model_len is None:
            return request.max_tokens
        room = min(request.max_tokens, self.max_model_len - len(request.prompt))
        if room < 1:
            raise ValueError(
                f"the prompt of {len(request.prompt)} tokens leaves no room in {self.max_model_len}"
            )
        return room


class Dialect(ABC):
    """Makes the bodies of requests, and reads the answers to them."""

    path: str
    """Path of its calls, after the base URL."""
    gives_logprobs = False
    """Whether it can give the log-probability of each token."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    @abstractmethod
    def body(self, request: SampleRequest) -> dict[str, Any]:
        """Returns the JSON of a request. Raises ValueError where it cannot be asked here."""

    @abstractmethod
    def read(self, request: SampleRequest, choice: Mapping[str, Any]) -> tuple[tuple[int, ...], Finish]:
        """Returns the tokens of the answer's only choice, and how they ended.

        Raises ValueError, KeyError or TypeError where they cannot be told.
        """

    def cuts(self, until: Until) -> tuple[str, ...]:
        """Returns the texts at the first of which a sample is cut here, since the server does not tell which
        text ended it; then the answer is streamed."""
        return ()

    def result(self, request: SampleRequest, answer: Any) -> SampleResult:
        """Returns the result that an answer holds. Raises ValueError where it holds none."""
        try:
            choice = only_choice(answer)
            tokens, finish = self.read(request, choice)
            logprobs = self.logprobs(choice) if request.logprobs else ()
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"no completion ({type(error).__name__}: {error}): {str(answer)[:200]}"
            ) from error
        computed = computed_tokens(request, len(tokens), answer.get("usage"))
        if not tokens:
            raise ValueError("the server wrote nothing")
        if len(tokens) > request.max_tokens:  # no more than that was granted
            tokens, finish = tokens[: request.max_tokens], "length"
            logprobs = logprobs[: request.max_tokens]
        return SampleResult(request.id, tokens, finish, computed, self.writer.replica, logprobs)

    def logprobs(self, choice: Mapping[str, Any]) -> tuple[float, ...]:
        """Returns the log-probability of each token of a choice. Raises ValueError where there is none."""
        raise ValueError("this server gives no log-probabilities of tokens")

    def _values(self, request: SampleRequest, off: Mapping[str, float] = {}) -> dict[str, Any]:
        return {
            "model": self.writer.served,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed & MAX_SEED,
            **off,
            **self.writer.sampling,
        }


class TokenDialect(Dialect):
    """Completions of vLLM: prompts, samples and stops as token ids, and what stopped a sample."""

    path = "/completions"
    gives_logprobs = True

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self._vocabulary = 1 + max(writer.tokenizer.get_vocab().values())

    def body(self, request: SampleRequest) -> dict[str, Any]:
        stop, room = self.writer.stops.at(request.until), self.writer.room(request)
        return {
            **self._values(request, OFF),
            "prompt": list(request.prompt),
            "max_tokens": room,
            "min_tokens": min(stop.min_tokens, room),
            "stop": list(stop.texts),
            "stop_token_ids": list(stop.tokens),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,  # a stop may be, or hold, a special token
            "return_token_ids": True,
            **({"logprobs": 1} if request.logprobs else {}),
        }

    def read(self, request: SampleRequest, choice: Mapping[str, Any]) -> tuple[tuple[int, ...], Finish]:
        tokens = self.sampled(choice)
        if ended(choice) == "length":
            return tokens, "length"
        return tokens, self.writer.stops.finish(request.until, choice.get("stop_reason"))

    def logprobs(self, choice: Mapping[str, Any]) -> tuple[float, ...]:
        held = choice.get("logprobs")
        given = held.get("token_logprobs") if isinstance(held, Mapping) else None
        count = len(choice["token_ids"])
        if not isinstance(given, list) or len(given) != count:
            raise ValueError(f"no log-probabilities of {count} tokens: {str(held)[:80]}")
        for value in given:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"{str(value)[:40]!r} is no log-probability")
        return tuple(map(kept_logprob, given))

    def sampled(self, choice: Mapping[str, Any]) -> tuple[int, ...]:
        """Returns the token ids of a choice. Raises ValueError unless each is one of the vocabulary."""
        tokens = choice["token_ids"]
        if not isinstance(tokens, list):
            raise ValueError(f"token_ids are no list: {str(tokens)[:80]}")
        for token in tokens:
            if type(token) is not int or not 0 <= token < self._vocabulary:
                raise ValueError(
                    f"the token id {str(token)[:40]} is none of the {self._vocabulary} of "
                    f"{self.writer.section}.model: is that the model that is served?"
                )
        return tuple(tokens)


class TextDialect(Dialect):
    """Completions that come back as text.

    Servers leave the text that stopped a sample out, and most do not say which it was, or that it was none:
    so the samples of a step or a thought are streamed, and cut here.
    """

    path = "/completions"

    def __init__(self, writer: Writer, *, ids: bool, knows_specials: bool) -> None:
        """``ids`` tells whether prompts are sent as token ids; else as text. ``knows_specials`` tells whether
        the server takes ``skip_special_tokens``."""
        super().__init__(writer)
        self._ids, self._knows_specials = ids, knows_specials

    def cuts(self, until: Until) -> tuple[str, ...]:
        return self.writer.stops.texts[until]

    def body(self, request: SampleRequest) -> dict[str, Any]:
        writer, until = self.writer, request.until
        writer.stops.at(until)  # refuses what there is not
        ends = () if until == "thought" else writer.stops.ends
        return {
            **self._values(request),
            "prompt": list(request.prompt) if self._ids else unbegun(writer.tokenizer, request.prompt),
            "max_tokens": writer.room(request),
            **({"stop": list(ends)} if ends else {}),
            **({"stream": True} if self.cuts(until) else {}),
            **({"skip_special_tokens": False} if self._knows_specials else {}),
        }

    def read(self, request: SampleRequest, choice: Mapping[str, Any]) -> tuple[tuple[int, ...], Finish]:
        writer, text = self.writer, text_of(choice, "text")
        if (cut := first_end(text, self.cuts(request.until))) is not None:
            return writer.ids(text[:cut]), request.until
        return closed(writer, text, ended(choice))


class ChatDialect(Dialect):
    """Chat completions: whole solutions, with the server's own template around the question."""

    path = "/chat/completions"

    def __init__(self, writer: Writer, *, limit: str = "max_tokens") -> None:
        """``limit`` is the server's name for the most tokens of an answer.

        Raises ValueError where the generator's prompts cannot be put as messages.
        """
        super().__init__(writer)
        if writer.frame is None:
            raise ValueError("this server only chats: generator.chat=true is needed")
        if writer.frame.unheeded:
            keys = ", ".join(writer.frame.unheeded)
            raise ValueError(f"this server only chats, in its own template, and cannot heed {keys}")
        self._frame, self._limit = writer.frame, limit

    def body(self, request: SampleRequest) -> dict[str, Any]:
        if request.until != "end":
            raise ValueError(
                f"this server only chats, and cannot stop at the end of a {request.until}: it writes whole "
                "solutions (best_of_n, revisions)"
            )
        question = self._frame.question(self.writer.text(request.prompt))
        return {**self._asked(request, question), self._limit: self.writer.room(request)}

    def greeting(self) -> dict[str, Any]:
        """Returns the body of a smallest chat, which tells whether the server takes such requests."""
        return {**self._asked(SampleRequest("greeting", (), 0, 1), "1 + 1 = ?"), self._limit: 16}

    def _asked(self, request: SampleRequest, question: str) -> dict[str, Any]:
        frame, ends = self._frame, self.writer.stops.ends
        return {
            **self._values(request),
            "messages": [*frame.turns, {"role": "user", "content": question}],
            **({"stop": list(ends)} if ends else {}),
            **({"chat_template_kwargs": dict(frame.options)} if frame.options else {}),
        }

    def read(self, request: SampleRequest, choice: Mapping[str, Any]) -> tuple[tuple[int, ...], Finish]:
        message = choice["message"]
        text = text_of(message, "content")
        if thought := text_of(message, "reasoning_content") or text_of(message, "reasoning"):
            marker = self.writer.stops.texts.get("thought")
            if marker is None:
                raise ValueError(
                    "the server gives the model's thinking apart: generator.end_of_thinking is needed"
                )
            text = f"{thought}{marker[0]}{text}" if text else thought
        return closed(self.writer, text, ended(choice))


def only_choice(answer: Any) -> Mapping[str, Any]:
    """Returns the choice of an answer to one prompt. Raises ValueError where that is not what it holds."""
    match answer:
        case {"choices": [dict(choice)]}:
            return choice
    raise ValueError(f"no completion of one choice: {str(answer)[:200]}")


def text_of(held: Mapping[str, Any], name: str) -> str:
    """Returns a text that may be null or absent, and is then empty. Raises ValueError for anything else."""
    text = held.get(name)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} is no text: {str(text)[:80]}")
    return text or ""


def ended(choice: Mapping[str, Any]) -> Finish:
    """Returns ``end`` or ``length``. Raises ValueError where the server ended a sample for another reason."""
    reason = choice["finish_reason"]
    if reason == "stop":
        return "end"
    if reason == "length":
        return "length"
    raise ValueError(f"the server ended it with {reason!r}")


def closed(writer: Writer, text: str, finish: Finish) -> tuple[tuple[int, ...], Finish]:
    """Returns the ids of a text that nothing cut; at an end, with the end of the sequence, which servers do
    not show."""
    tokens, end = writer.ids(text), writer.tokenizer.eos_token_id
    if finish == "end" and end is not None and tokens[-1:] != (end,):
        tokens += (end,)
    return tokens, finish


def first_end(text: str, marks: Sequence[str]) -> int | None:
    """Returns the position after the mark that is complete first; None where there is none."""
    return min((at + len(mark) for mark in marks if (at := text.find(mark)) >= 0), default=None)


def unbegun(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Returns the text of a prompt, without the token that the server's tokenizer begins each text with."""
    begin = tuple(tokenizer("")["input_ids"])
    bos = getattr(tokenizer, "bos_token_id", None)
    rest = tokens[1:] if begin[:1] == (bos,) and tuple(tokens[:1]) == begin[:1] else tokens
    return tokenizer.decode(list(rest), skip_special_tokens=False)


def computed_tokens(request: SampleRequest, new: int, usage: Any) -> int:
    """Returns the tokens that the server ran: the prompt's that it did not have, and the new ones but the
    last. What it does not tell is taken to be what was sent and what came."""
    prompt = counted(usage, "prompt_tokens") or len(request.prompt)
    written = counted(usage, "completion_tokens") or new
    return max(0, prompt - (cached_tokens(usage) or 0) + written - 1)


def cached_tokens(usage: Any) -> int | None:
    """Returns the prompt's tokens that the server did not compute again; None where it does not tell."""
    details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
    return counted(details, "cached_tokens")


def counted(usage: Any, name: str) -> int | None:
    """Returns a number of tokens that a server tells; None where it tells none, or what can be none."""
    count = usage.get(name) if isinstance(usage, Mapping) else None
    return count if type(count) is int and 0 <= count <= MOST_TOKENS else None
