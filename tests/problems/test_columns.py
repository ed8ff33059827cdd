"""Rows as public sets have them become the right problems; what is no problem is refused in one line."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.errors import BadInput
from orchestrator.problems.columns import last_box, read_problems
from orchestrator.problems.problem import Problem, Wanted, filled


def read(*rows, limit=None, **columns):
    numbered = [(f"f.jsonl:{number}", row) for number, row in enumerate(rows, start=1)]
    return read_problems(iter(numbered), Wanted("f.jsonl", limit=limit, columns=columns), "f")


def one(row, **columns):
    (problem,) = read(row, **columns)
    return problem


def refused(*rows, **columns):
    with pytest.raises(BadInput) as error:
        read(*rows, **columns)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_math_500():
    row = {
        "problem": "Convert.",
        "solution": "We see that … \\boxed{(3,\\frac{\\pi}{2})}." + 200 * " so",
        "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
        "subject": "Precalculus",
        "level": 2,
        "unique_id": "test/precalculus/807.json",
    }
    problem = one(row)
    assert problem == Problem(
        "test/precalculus/807.json",
        "Convert.",
        "\\left( 3, \\frac{\\pi}{2} \\right)",
        2.0,
        attributes=(("subject", "Precalculus"), ("level", 2)),
    )
    assert (problem.attribute("level"), problem.attribute("difficulty")) == (2, 2.0)
    assert problem.attribute("author") is None


def test_gsm8k():
    row = {"question": "How much?", "answer": "She sells 9 * 2 = <<9*2=18>>18.\nSo 1,018.\n#### 1,018"}
    assert one(row) == Problem("f-00000", "How much?", "1,018")


def test_a_heading_is_no_result():
    text = "#### Answer\nfour, since 2 + 2"
    assert one({"problem": "?", "answer": text}).answer == text


@pytest.mark.parametrize(
    ("answer", "read_as"),
    [
        (204, "204"),
        (27.0, "27"),
        (0.5, "0.5"),
        (-3, "-3"),
        (Decimal("12.50"), "12.5"),
        (Decimal(7), "7"),
        ("073", "073"),
    ],
)
def test_a_number_is_its_text(answer, read_as):
    assert one({"ID": "2024-I-1", "Problem": "?", "Solution": "s", "Answer": answer}).answer == read_as


def test_aime_and_amc_keep_their_ids():
    assert one({"ID": "2024-I-1", "Problem": "?", "Answer": 204}).id == "2024-I-1"
    assert one({"id": 3, "question": "?", "answer": 27.0, "url": "https://a"}) == Problem(
        "3", "?", "27", attributes=(("url", "https://a"),)
    )
    assert one({"problem_idx": 4, "problem": "?", "answer": 1}).id == "4"


def test_the_first_maths_has_its_answer_in_the_box_of_its_solution():
    row = {
        "problem": "?",
        "level": "Level 5",
        "type": "Algebra",
        "solution": "So $\\boxed{\\frac{1}{\\{2\\}}}$.",
    }
    problem = one(row)
    assert (problem.answer, problem.difficulty) == ("\\frac{1}{\\{2\\}}", 5.0)
    assert problem.attribute("level") == "Level 5"
    assert one({"problem": "?", "solution": "12"}).answer == "12"
    assert "without \\boxed{}" in refused({"problem": "?", "solution": "then " * 99})
    assert one({"problem": "?", "solution": "then " * 99}, answer="solution").answer == "then " * 99


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("\\boxed{1} or \\boxed{ x^{2} }", "x^{2}"),
        ("\\fbox{17}", "17"),
        ("none", None),
        ("\\boxed{}", None),
        ("\\boxed{open", None),
        ("\\boxed{a\\\\{b}}", "a\\\\{b}"),
    ],
)
def test_the_last_box(text, box):
    assert last_box(text) == box


def test_several_right_answers():
    problem = one({"question": "?", "answers": ["NYC", "New York", "NYC", 5]})
    assert (problem.answer, problem.also) == ("NYC", ("New York", "5"))
    assert "needed: a text" in refused({"question": "?", "answers": []})


def test_columns_by_name():
    row = {"q": "?", "truth": 3, "key": "k", "hardness": "2.5", "problem": "not this"}
    problem = one(row, problem="q", answer="truth", id="key", difficulty="hardness")
    assert problem == Problem("k", "?", "3", 2.5, attributes=(("hardness", 2.5), ("problem", "not this")))
    nested = {"prompt": [{"role": "user", "content": "?"}], "reward_model": {"ground_truth": "34"}}
    assert one(nested).prompt == "?"
    assert one(nested, answer="reward_model.ground_truth").answer == "34"


def test_an_id_that_is_not_wanted():
    rows = [{"id": 1, "problem": "a", "answer": 1}, {"id": 1, "problem": "b", "answer": 2}]
    said = refused(*rows)
    assert "f.jsonl:2: id: '1'" in said
    assert "f.jsonl:1 has this one too" in said
    assert [problem.id for problem in read(*rows, id=None)] == ["f-00000", "f-00001"]


def test_attributes_are_the_other_texts_and_numbers():
    row = {
        "problem": "?",
        "answer": 1,
        "year": "2024",
        "code": "0012",
        "ok": True,
        "none": None,
        "blank": " ",
    }
    row |= {
        "half": "a\ud800",
        "list": [1],
        "nan": float("nan"),
        "long": "x" * 201,
        "mean": 0.5,
        "name": "nan",
    }
    expected = {"half": "a?", "year": 2024, "code": "0012", "ok": "true", "mean": 0.5, "name": "nan"}
    assert dict(one(row).attributes) == expected


def test_a_difficulty_in_words_is_an_attribute():
    problem = one({"problem": "?", "answer": 1, "difficulty": "hard"})
    assert (problem.difficulty, problem.attribute("difficulty")) == (None, "hard")
    assert "f.jsonl:1: d: 'hard'" in refused({"problem": "?", "answer": 1, "d": "hard"}, difficulty="d")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True, None, "", [1], "Level five"])
def test_what_is_no_difficulty_is_none(value):
    assert one({"problem": "?", "answer": 1, "difficulty": value}).difficulty is None


def test_no_more_rows_are_read_than_are_asked_for():
    def rows():
        yield "a:1", {"problem": "?", "answer": 1}
        raise AssertionError("read on")

    assert len(read_problems(rows(), Wanted(limit=1), "a")) == 1


@pytest.mark.parametrize(
    ("row", "columns", "said"),
    [
        ({"quesiton": "?", "answer": 1}, {}, "the columns are quesiton, answer; say which one it is: "),
        ({"quesiton": "?", "answer": 1}, {}, "problems.columns={problem: NAME}; nearest: quesiton"),
        ({"problem": "?", "anwser": 1}, {}, "f.jsonl:1: answer: null is not usable"),
        (
            {"Q": "?", "answer": 1},
            {"problem": "q"},
            "problems.columns.problem: 'q' is not usable; f.jsonl:1: the",
        ),
        ({"Q": "?", "answer": 1}, {"problem": "q"}, "nearest: Q"),
        (
            {"Q": "?", "answer": 1},
            {"question": "Q"},
            "problems.columns.question: 'Q' is not usable; allowed: problem,",
        ),
        ({"Q": "?", "answer": 1}, {"problem": 3}, "allowed: the name of a column"),
        ({"problem": "?", "answer": True}, {}, "answer: true is not usable"),
        ({"problem": "?", "answer": float("nan")}, {}, "answer: nan is not usable"),
        ({"problem": "?", "answer": "NaN"}, {}, "answer: 'NaN' is not usable"),
        ({"problem": "?", "answers": ["1", "nan"]}, {}, "answers: 'nan' is not usable"),
        ({"problem": "nan", "answer": 1}, {}, "problem: 'nan' is not usable"),
        (
            {"problem": "?", "answer": 1},
            {"choices": []},
            "problems.columns.choices: [] is not usable; allowed: a col",
        ),
        ({"problem": "?", "answer": 1}, {"choices": ["problem"]}, "2 to 26 of them"),
        ({"problem": "?", "answer": 1}, {"wrong": []}, "1 to 26 of them, or null"),
        ({"problem": "?", "answer": None}, {}, "answer: null is not usable; needed: a text"),
        ({"problem": "?", "answer": " "}, {}, "answer: ' ' is not usable"),
        ({"problem": "?", "answer": {"a": 1}}, {}, "answer: {'a': 1} is not usable"),
        ({"problem": "", "answer": 1}, {}, "problem: '' is not usable"),
        ({"problem": "\ud800", "answer": 1}, {}, "half a surrogate pair"),
        ({"problem": "a\0b", "answer": 1}, {}, "without a NUL character"),
        ({"problem": "?", "answer": "a\0b"}, {}, "without a NUL character"),
        ({"problem": "?", "answer": 1, "id": "a\0b"}, {}, "f.jsonl:1: id: 'a\\x00b'"),
        ({"prompt": [{"role": "system", "content": "a"}], "answer": 1}, {}, "a list with one user's message"),
        ({}, {}, "the columns are none"),
        ({"problem": "?", "answer": 1, "Key": 2}, {"id": "key"}, "problems.columns.id: 'key' is not usable"),
        (
            {"problem": "?", "answer": 1},
            {"choices": ["a", "b"]},
            "problems.columns.choices: 'a' is not usable",
        ),
        (
            {"problem": "?", "answer": 1},
            {"wrong": "w"},
            "problems.columns.wrong: 'w' is not usable; f.jsonl:1",
        ),
    ],
)
def test_what_is_no_problem_is_refused_by_the_names_that_are_there(row, columns, said):
    assert said in refused(row, **columns)


def test_a_later_row_that_lacks_a_column_is_refused():
    said = refused({"problem": "?", "answer": 1}, {"problem": "?", "Answer": 1})
    assert said.startswith("f.jsonl:2: answer: null")
    assert said.endswith("the columns are problem, Answer; nearest: Answer")
    assert "it holds no problem" in refused()


def test_a_prompt_has_the_problem_and_its_choices_where_the_template_says():
    plain, chosen = (
        Problem("p", "What is {choices}?", "1"),
        Problem("p", "Which?", "B", choices=("one", "two")),
    )
    assert filled("Q: {problem}", plain) == "Q: What is {choices}?"
    assert filled("Q: {problem} A:", chosen) == "Q: Which?\n\n(A) one\n(B) two A:"
    assert filled("{problem}|{choices}|{other}", chosen) == "Which?|(A) one\n(B) two|{other}"
