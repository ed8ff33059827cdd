"""Steps end where the delimiter's text does, however it is cut into tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.problems.codec import Codec


class Pieces:
    """A tokenizer whose tokens are given strings: token i is ``pieces[i]``."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(self.pieces[i] for i in ids)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        """The ids of new tokens, one a character."""
        self.pieces += text
        return {"input_ids": list(range(len(self.pieces) - len(text), len(self.pieces)))}


pieces = st.lists(st.sampled_from(["a", "b.", "\n", "\n\n", ".\n", "c\n\nd", " ", "\n\n\n"]), max_size=20)


@given(pieces, st.integers(0, 3))
def test_a_step_ends_with_the_token_that_completes_the_delimiter(pieces, start):
    start = min(start, len(pieces))
    codec, tokens = Codec(Pieces(pieces), "\n\n"), list(range(len(pieces)))
    ends = codec.step_ends(tokens, start)
    assert list(ends) == sorted(set(ends))
    assert (ends[-1] if ends else start) == len(tokens)
    begin = start
    for end in ends:
        step = "".join(pieces[begin:end])
        assert "\n\n" in step or end == len(tokens)
        assert "\n\n" not in "".join(pieces[begin : end - 1]), "and no earlier token did"
        begin = end


def test_each_token_is_a_step_end_only_after_its_own_delimiter():
    codec = Codec(Pieces(["x", "\n", "\n", "y", "z"]), "\n\n")
    assert codec.step_ends([0, 1, 2, 3, 4], 0) == (3, 5)
    assert codec.step_ends([0, 1], 0) == (2,)
    assert codec.step_ends([0], 1) == ()


@given(
    st.lists(st.sampled_from(["a", "b.", ".</", "</", "think", ">", ">\n", "c</think>", "<"]), max_size=12)
)
def test_what_is_before_a_marker_is_kept_to_the_letter_however_it_is_cut_into_tokens(thought):
    codec, tokens = Codec(Pieces(list(thought)), "\n", "</think>"), list(range(len(thought)))
    kept, rest = codec.before_marker(tokens)
    text = codec.decode(tokens)
    assert codec.decode([*tokens[:kept], *rest]) == text.partition("</think>")[0]
    if "</think>" in text:
        assert len(codec.decode(tokens[: kept + 1])) > len(text.partition("</think>")[0]), "none in vain"
    else:
        assert (kept, rest) == (len(tokens), ())
