"""Answers of mathematics: given pairs and classes, and what must hold for any answer."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.grading.choice import Choice
from orchestrator.grading.keys import LONGEST
from orchestrator.grading.math import Math
from orchestrator.grading.thinking import without_thinking

HERE = Path(__file__).parent
MATH = Math()


def rows(*names: str) -> list[dict]:
    return [json.loads(line) for name in names for line in (HERE / name).read_text().splitlines()]


PAIRS = rows("pairs.jsonl", "more_pairs.jsonl", "found_pairs.jsonl")
VOTES = rows("votes.jsonl", "more_votes.jsonl", "found_votes.jsonl")
TRUTHS = sorted({row["truth"] for row in PAIRS})


def judged(text: str, truth: str) -> bool:
    answer = MATH.extract(without_thinking(text))
    return answer is not None and MATH.accepts(truth, answer)


def names(kinds: list[dict]) -> list[str]:
    return [f"{row['text'][-40:]} for {row['truth']}" for row in kinds]


@pytest.mark.parametrize("row", PAIRS, ids=names(PAIRS))
def test_a_text_is_judged_right_or_wrong(row):
    assert judged(row["text"], row["truth"]) is row["correct"]


@pytest.mark.parametrize("row", VOTES, ids=[" ~ ".join(row["answers"]) for row in VOTES])
def test_equal_answers_are_one_vote_and_others_are_not(row):
    keys = [MATH.key(answer) for answer in row["answers"]]
    assert len(set(keys)) == (1 if row["one_vote"] else len(keys))


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_answer_of_a_problem_is_right_in_a_box(truth):
    assert judged(rf"Thus \boxed{{{truth}}}.", truth)
    assert MATH.accepts(truth, truth)


def test_there_are_as_many_cases_as_were_asked_for():
    assert len(PAIRS) >= 112 * 3
    assert len(VOTES) >= 12 * 3


integers = st.integers(-(10**6), 10**6)
rationals = st.fractions(max_denominator=10**6)


def spelled(value: Fraction) -> st.SearchStrategy[str]:
    over, under = value.numerator, value.denominator
    forms = [rf"\frac{{{over}}}{{{under}}}", f"{over}/{under}", rf"\dfrac{{{-over}}}{{{-under}}}"]
    forms.append(rf"\frac{{{over}\cdot 3}}{{{under}\cdot 3}}")
    forms.append(rf"x = \frac{{{over}}}{{{under}}}")
    if under == 1:
        forms += [
            f"{over}",
            f"{over}.0",
            f"{over:,}",
            f"{over:,}".replace(",", "{,}"),
            rf"{over}\text{{ cm}}",
        ]
    return st.sampled_from(forms)


@given(rationals.flatmap(lambda value: st.tuples(spelled(value), spelled(value))))
def test_all_forms_of_a_number_have_one_key(forms):
    first, second = forms
    assert MATH.key(first) == MATH.key(second)
    assert MATH.accepts(first, second)


@given(rationals, rationals)
def test_no_number_is_accepted_for_another(truth, answer):
    right = MATH.accepts(f"{truth}", f"{answer}")
    assert right == (truth == answer)


@given(st.lists(integers, min_size=1, max_size=6), st.randoms())
def test_a_list_is_a_set_and_a_tuple_is_not(numbers, rng):
    shuffled = rng.sample(numbers, len(numbers))
    assert MATH.key(", ".join(map(str, numbers))) == MATH.key(", ".join(map(str, shuffled)))
    first, second = ("(" + ", ".join(map(str, some)) + ")" for some in (numbers, shuffled))
    assert (MATH.key(first) == MATH.key(second)) == (numbers == shuffled)


@given(st.lists(integers, min_size=1, max_size=5), integers, st.sampled_from("xyn"))
def test_a_polynomial_is_its_values_however_its_terms_are_ordered(coefficients, extra, name):
    terms = [f"{c}{name}^{{{power}}}" for power, c in enumerate(coefficients)]
    written, backwards = "+".join(terms), "+".join(reversed(terms))
    assert MATH.key(written) == MATH.key(backwards)
    assert (MATH.key(written) == MATH.key(f"{written}+{extra}")) == (extra == 0)


@given(st.integers(1, 12), st.integers(1, 12))
def test_factored_and_expanded_are_one(a, b):
    assert MATH.key(f"(x-{a})(x+{b})") == MATH.key(f"x^2+{b - a}x-{a * b}")


@settings(max_examples=300)
@given(st.text(alphabet=r"\{}()[]^_$%,.=<>+-*/!|&0123456789abcxyz fracsqrtboxedtextpm∞π≤½", max_size=60))
def test_any_text_has_an_answer_or_none_and_each_answer_equals_itself(text):
    answer = MATH.extract(text)
    for one in (text, answer):
        if one is not None:
            assert MATH.key(one) == MATH.key(one)
            assert MATH.accepts(one, one)


@given(st.sampled_from(TRUTHS), st.sampled_from(TRUTHS), st.sampled_from(TRUTHS))
def test_equality_of_answers_is_an_equivalence(a, b, c):
    key = MATH.key
    assert (key(a) == key(b)) == (key(b) == key(a))
    if key(a) == key(b) == key(c):
        assert key(a) == key(c)


def test_hostile_answers_are_keyed_at_once():
    import time

    hostile = [
        r"9^{9^{9^9}}",
        r"10^{10^{10}}",
        r"\sum_{k=1}^{2023} k^k",
        r"\sum_{i=1}^{900}\sum_{j=1}^{900}\sum_{k=1}^{900} ijk",
        r"(10^{9})!",
        r"\binom{10^{12}}{10^{11}}",
        r"2^{2^{2^{2^{2^{2}}}}}",
        "(" * 400 + "1" + ")" * 400,
        "x" * (LONGEST - 1),
        "+".join(f"x_{{{i}}}" for i in range(99)),
        r"\frac{1}{" * 80 + "2" + "}" * 80,
        "1" * 999,
        r"\prod_{k=1}^{999} (k^{999})",
        "1e9999999",
        "1e-9999999",
        r"\frac1{1e9999999}",
        "%" * 990,
        "((((x+1)^{99})^{99})^{99})^{99}",
        "{" * 900,
        "-" * 900,
        "9" * 900 + "!",
        r"\text{" * 150 + "}" * 150,
        "=".join("ab" * 200),
        ",".join("1" * 400),
        r"\pm 1" * 100,
    ]
    for answer in hostile:
        began = time.process_time()
        assert MATH.key(answer) != MATH.key("42")
        assert not MATH.accepts("42", answer)
        assert MATH.accepts(answer, answer)
        assert time.process_time() - began < 2.0, answer[:60]


def test_long_texts_are_read_in_milliseconds():
    import time

    for text in (
        "The sum is 3 and $x$ then (A) or \\boxed " * 5000,
        "answer is " * 20000,
        "$" * 50000,
        "{" * 50000,
    ):
        began = time.perf_counter()
        MATH.extract(text)
        assert time.perf_counter() - began < 1.0, text[:40]


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "\\boxed{1}   ",
        "\\(",
        "\\[",
        "####",
        "the answer is ",
        "x=",
        "$",
        "\\text{a} ",
        "the ",
        "only ",
        "final ",
        "%",
    ],
)
def test_a_piece_that_is_written_again_and_again_is_read_in_time(piece):
    import time

    for text in (piece * 20000, piece * 20000 + "!"):
        began = time.process_time()
        MATH.extract(text)
        Choice().extract(text)
        MATH.key(text[:990])
        MATH.accepts("5", text[:990] + "!")
        assert time.process_time() - began < 3.0


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<THINK>\\boxed{1}</THINK>2", "2"),
        ("<think >\\boxed{1}</think >2", "2"),
        ("\\boxed{1}</think>2", "2"),
        ("<Thinking>\\boxed{1}", ""),
        (
            "<|channel|>analysis<|message|>\\boxed{1}<|end|><|start|>assistant"
            "<|channel|>final<|message|>2<|return|>",
            "2",
        ),
        ("<|channel|>analysis<|message|>\\boxed{1}", ""),
        ("analysis: \\boxed{1}assistantfinal2", "2"),
        ("analysis of this is 2", "analysis of this is 2"),
    ],
)
def test_the_thinking_of_any_model_is_cut_off(text, left):
    assert without_thinking(text) == left
