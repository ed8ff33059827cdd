"""Where a sample stops, and what it is then: by tokens where one token tells, by text elsewhere."""

from __future__ import annotations

import pytest

from actors.stops import Stop, Stops, check_texts, delimiter_token, stop_at_marker


class Vocabulary:
    """A tokenizer of the given tokens."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def batch_decode(self, batch: list[list[int]]) -> list[str]:
        return ["".join(self._texts[token] for token in tokens) for tokens in batch]


@pytest.mark.parametrize(
    ("texts", "delimiter", "token"),
    [
        (("a", "\n"), "\n", 1),
        (("a", "\n", "b\n"), "\n", None),  # it can also end another token
        (("a", "\n", "\n\n"), "\n\n", None),  # or be made of two
        (("a",), "\n", None),
        (("a", "\n\n"), "\n\n", 1),
        (("a", "é"), "é", None),  # or of bytes
    ],
)
def test_delimiter_token(texts: tuple[str, ...], delimiter: str, token: int | None) -> None:
    assert delimiter_token(Vocabulary(*texts), delimiter) == token


class Thinking(Vocabulary):
    """Its last token was added to it as a whole."""

    def get_added_vocab(self) -> dict[str, int]:
        return {self._texts[-1]: len(self._texts) - 1}


def test_a_marker_that_is_a_token_of_its_own_is_stopped_at_as_that_token() -> None:
    tokenizer = Thinking("a", "th", "</think>")
    stop = stop_at_marker(tokenizer, "</think>")
    assert stop == Stop(tokens=(2,), min_tokens=1)
    stop = stop_at_marker(tokenizer, "th")  # other tokens hold it too: it is looked for in the text
    assert stop == Stop(texts=("th",))


def test_a_step_ends_at_its_delimiter_and_a_solution_at_a_stop_too_but_no_thought() -> None:
    stops = Stops.of(Thinking("a", ";", "</think>"), (";", "aa"), "</think>", ("#",))
    assert stops.at("step") == Stop((1,), ("aa", "#"))
    assert stops.at("end") == Stop(texts=("#",))
    assert stops.at("thought") == Stop((2,), min_tokens=1)
    assert [stops.finish("step", reason) for reason in (1, "aa", "#", 0, None)] == ["step"] * 2 + ["end"] * 3
    assert [stops.finish("thought", reason) for reason in (2, None)] == ["thought", "end"]
    assert stops.finish("end", "#") == "end"


def test_a_thought_without_a_marker_and_an_empty_text_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no end_of_thinking was given to .*; allowed: end, step"):
        Stops.of(Vocabulary("a"), ()).at("thought")
    for given in (("", None, ()), (("a", ""), None, ()), ("a", "", ()), ("a", None, ("",))):
        with pytest.raises(ValueError, match="'' is not usable"):
            check_texts(*given)
