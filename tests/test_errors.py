"""Errors that a user can mend name the key, the value and what is allowed."""

from __future__ import annotations

import pytest

from orchestrator.errors import BadInput, at_least, in_one_line


@pytest.mark.parametrize(("value", "least"), [(1, 1), (0.5, 0.5), (10**12, 1), (0, 0)])
def test_a_value_that_is_large_enough_is_accepted(value: float, least: float):
    at_least("strategy.n", value, least)


@pytest.mark.parametrize(
    ("value", "least", "allowed"),
    [
        (0, 1, "allowed: 1 or more"),
        (0.2, 0.25, "allowed: 0.25 or more"),
        (-1, 0.0, "allowed: 0 or more"),
        (float("nan"), 1, "allowed: 1 or more"),
        (float("inf"), 1, "allowed: 1 or more"),
    ],
)
def test_one_that_is_not_is_refused_by_its_key(value: float, least: float, allowed: str):
    with pytest.raises(BadInput) as raised:
        at_least("strategy.n", value, least)
    assert str(raised.value) == f"strategy.n: {value!r} is not usable; {allowed}"


def test_an_error_whose_text_cannot_be_encoded_or_made_is_one_line_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert in_one_line(ValueError("\udc80 of\na file")) == "ValueError: \\udc80 of"
    assert in_one_line(Mute()) == "Mute"
