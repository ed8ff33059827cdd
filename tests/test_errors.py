"""Errors that a user can mend name the key, the value and what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import BadInput, UnknownKey, as_given, at_least, counted, in_one_line


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


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1e9, "1e9"),
        (-1234567890.0, "-1.23456789e9"),
        (2.5e18, "2.5e18"),
        (1e300, "1e300"),
        (0.1 + 0.2, "0.30000000000000004"),
        (999_999.0, "999999.0"),
        (1_000_000_000, "1000000000"),
        (float("inf"), "inf"),
        (None, "null"),
        (True, "true"),
        ("text", "'text'"),
        ([None, {"flops": 1e9, "a": "b"}], "[null, {'flops': 1e9, 'a': 'b'}]"),
    ],
)
def test_a_value_is_told_as_a_configuration_has_it(value: object, shown: str):
    assert str(BadInput("k", value, "allowed: x")) == f"k: {shown} is not usable; allowed: x"


@given(st.floats(min_value=1e6, max_value=1e308))
def test_a_large_number_is_told_exactly(value: float):
    assert float(as_given(value)) == value


def test_an_unknown_key_has_no_value_and_stays_one_within_a_cell():
    error = UnknownKey("generater", "did you mean generator?").within("cell a")
    assert str(error) == "cell a: generater: unknown key; did you mean generator?"
    within = BadInput("seed", None, "allowed: 1").within("cell a")
    assert str(within) == "cell a: seed: null is not usable; allowed: 1"


def test_one_thing_is_counted_as_one():
    assert [counted(n, "run") for n in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
    assert counted(2, "search", "searches") == "2 searches"
