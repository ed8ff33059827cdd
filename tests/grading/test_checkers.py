"""The other checkers: choices, numbers within a tolerance, programs."""

from __future__ import annotations

import json

import pytest

from orchestrator.grading.choice import Choice
from orchestrator.grading.code import Code
from orchestrator.grading.number import Number

CHOICE, CODE = Choice(), Code(seconds=3.0)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The energy is $\\boxed{E = mc^2}$.\n\nAnswer: D", "D"),
        (r"so \boxed{\text{E}}", "E"),
        ("The correct answer is (C) 4.", "C"),
        (r"\textbf{(B)}\ 12", "B"),
        (r"\boxed{\textbf{(B)}\ 12}", "B"),
        (r"\boxed{B. 12}", "B"),
        ("**Answer: A**", "A"),
        ("I choose option (J).", "J"),
        ("The answer is a matter of taste.", None),
        ("C", "C"),
        ("Consider (A) first. No: (B).", "B"),
        ("The answer is 4.", None),
        ("A cat sat on the mat.", None),
        ("Final answer: **(D) 12 m**", "D"),
        ("The best choice is: C", "C"),
        (r"\boxed{A, B}", "A, B"),
        (r"\boxed{A}, \boxed{B}", "A, B"),
        (r"\boxed{\text{A and C}}", "A, C"),
        ("The answer is B, A", "A, B"),
        ("The answer is (A) or (C).", "A, C"),
        ("The answer is A, B is wrong", "A"),
        ("The answer isn't A but B", "B"),
        ("Options: (A) 1 (B) 2. I cannot decide.", None),
        ("Options: (A) 1 (B) 2. I choose (A).", "A"),
        ("答案：B", "B"),
        ("答案是Ｄ。", "D"),
    ],
)
def test_the_letter_of_a_choice(text, letter):
    assert CHOICE.extract(text) == letter
    for truth in ("D", "(D)", r"\text{D}"):
        assert letter is None or CHOICE.accepts(truth, letter) == (letter == "D")


def test_an_answer_that_is_no_choice_is_refused():
    CHOICE.check_truth("(C)")
    with pytest.raises(ValueError, match="a letter from A to J"):
        CHOICE.check_truth("12")


def test_a_number_is_right_within_its_tolerance():
    near = Number(relative=0.01)
    assert near.accepts("100", "101")
    assert near.accepts("100", "99.0")
    assert not near.accepts("100", "101.5")
    assert near.accepts(r"\pi", "3.14")
    assert near.accepts("50", r"50.2\%")
    assert near.accepts("3.2", r"3.21 \text{ cm}")
    assert not near.accepts("-3", "3")
    assert not near.accepts("yes", "3")
    assert near.accepts("yes", "Yes")
    assert Number(relative=0, absolute=0.5).accepts("0", "0.5")
    assert not Number(relative=0, absolute=0.5).accepts("0", "0.51")
    assert Number().key("1/2") == Number().key("0.5")
    assert near.accepts(r"6.02\times 10^{23}", "6.0e23")


ADD = json.dumps({"function": "add", "cases": [[[1, 2], 3], [[[1], [2]], [1, 2]], [["a", "b"], "ab"]]})


def program(body: str, name: str = "add") -> str:
    return f"def {name}(a, b):\n    {body}"


def test_a_program_is_the_last_block_of_code():
    first, last = "def add(a, b): pass", program("return a + b")
    text = f"First\n```python\n{first}\n```\nthen\n```python\n{last}\n```\ndone"
    assert CODE.extract(text) == program("return a + b")
    assert CODE.extract("no code") is None
    assert CODE.extract("```bash\nls\n```") is None
    assert CODE.key("a = 1  \n\n") == CODE.key("a = 1")


@pytest.mark.parametrize(
    ("body", "right"),
    [
        ("return a + b", True),
        ("return a - b", False),
        ("import math; print('noise'); return a + b", True),
        ("raise ValueError", False),
        ("raise SystemExit(0)", False),
        ("import os; os._exit(0)", False),
        ("while True: pass", False),
        ("return [0] * 10**10", False),
        ("import socket; socket.create_connection(('127.0.0.1', 1)); return a + b", False),
        ("import socket; socket.socket(); return a + b", False),
        ("import subprocess; subprocess.run(['true']); return a + b", False),
        ("import os; os.fork(); return a + b", False),
        ("import os; os.system('true'); return a + b", False),
        ("open('/etc/passwd').read(); return a + b", False),
        ("open('/tmp/of-an-answer', 'w'); return a + b", False),
        ("open('mine', 'w').write('1'); return a + b", True),
        ("import ctypes; ctypes.CDLL(None); return a + b", False),
        ("import sys; sys._getframe(1).f_locals['token']; return a + b", False),
        ("import builtins; builtins.all = lambda _: True; return None", False),
        ("import os; os.link('/etc/passwd', 'x'); return a + b", False),
        ("import os; os.symlink('/etc', 'x'); return a + b", False),
        ("import os; os.mkfifo('x'); return a + b", False),
        ("import os; open('x', 'w'); os.rename('x', '/tmp/of-an-answer'); return a + b", False),
        ("import os; open('x', 'w'); os.rename('x', 'y'); return a + b", True),
        ("import os; os.utime('/tmp'); return a + b", False),
        ("import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19); return a + b", False),
        ("import resource, os; resource.prlimit(os.getppid(), resource.RLIMIT_CPU); return a + b", False),
        ("import sqlite3; sqlite3.connect('/tmp/of-an-answer'); return a + b", False),
        ("print('x' * 10**6); return a + b", True),
        ("import os; os.write(1, b'[3, [1, 2], 4]'); return None", False),
        ("class Same:\n        def __eq__(self, other): return True\n    return Same()", False),
        ("import collections, itertools, functools, heapq, re; return a + b", True),
    ],
)
def test_a_program_passes_or_not_and_can_do_no_harm(body, right):
    assert CODE.accepts(ADD, program(body)) is right


def test_a_block_with_its_language_is_the_program_and_a_fence_in_a_string_is_no_end():
    assert CODE.extract("```python\nprint(1)\n```\nprints\n```\n1\n```") == "print(1)"
    assert CODE.extract("```\nprint(1)\n```") == "print(1)"
    assert CODE.extract("```python\nx = '```'\nprint(x)\n```") == "x = '```'\nprint(x)"


def test_a_program_that_writes_without_end_takes_no_memory_of_ours():
    import resource

    was = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asserts = json.dumps(["assert add(1, 2) == 3"])
    for body in ("while 1: print('x' * 2**20)", "import os\n    while 1: os.write(3, b'x' * 2**20)"):
        assert not Code(seconds=1).accepts(ADD, program(body))
        assert not Code(seconds=1).accepts(asserts, program(body))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - was < 200 * 1024


def test_assert_statements_are_cases_too():
    asserts = json.dumps(["assert add(1, 2) == 3", "assert add(0, 0) == 0"])
    assert CODE.accepts(asserts, program("return a + b"))
    assert not CODE.accepts(asserts, program("return a or b"))


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "class Same(int):\n    def __eq__(self, other): return True\ndef add(a, b): return Same(7)",
        "class Same:\n    def __eq__(self, other): return True\ndef add(a, b): return Same()",
        "class All:\n    def __contains__(self, it): return True\ndef add(a, b): return All()",
        "import builtins\nbuiltins.abs = lambda x: 0\ndef abs(x): return 0\ndef add(a, b): return 7",
        "import math\nmath.isclose = lambda *_, **__: True\ndef add(a, b): return 7",
        "def add(a, b):\n    import os\n    for fd in range(3, 9):\n        try: os.write(fd, b'{}\\n')\n"
        "        except OSError: pass",
        "import __main__\n__main__.check = __main__.Program = None\ndef add(a, b): return None",
        "def add(a, b): raise AssertionError",
        "def add(a, b): raise StopIteration",
        "add = 3",
    ],
)
def test_no_program_can_make_assert_statements_true_that_are_not(program):
    asserts = ["assert add(1, 2) == 3", "assert 3 in [add(1, 2)]", "assert abs(add(1, 2) - 3) < 1e-9"]
    asserts += ["import math\nassert math.isclose(add(1, 2), 3)"]
    asserts += ["assert all(map(lambda n: add(n, 2) == n + 2, range(3)))"]
    for statement in asserts:
        assert not Code(seconds=1).accepts(json.dumps([statement]), program), statement


LIST = "[b'a', 1.5, None, 2j]"


@pytest.mark.parametrize(
    ("asserts", "body"),
    [
        (
            ["assert f(2) == (2, {2}, {2: 'x'}, [b'a', 1.5, None, 2j])"],
            "return n, {n}, {n: 'x'}, [b'a', 1.5, None, 2j]",
        ),
        (["assert math.isnan(f(0)) and math.isinf(-f(1))"], "return float('inf') if n else float('nan')"),
        (["xs = [3, 1]", "f(xs)", "assert xs == [1, 3]"], "n.sort()"),
        (["assert list(f(3)) == [0, 1, 2]"], "yield from range(n)"),
        (
            ["def check(candidate):\n    assert all(candidate(i) == 2 * i for i in range(3))", "check(f)"],
            "return 2 * n",
        ),
        (["try:\n    f(0)\n    assert False\nexcept ZeroDivisionError:\n    pass"], "return 1 / n"),
        (["import math", "assert math.isclose(f(3), 1.0, rel_tol=1e-9)"], "return n / 3 + 1e-12"),
        (["s = Stack()", "s.push(f(1))", "assert s.pop() == 1 and len(s.held) == 0"], "return n"),
        (["assert f(f) is not None"], "return n"),
    ],
)
def test_assert_statements_read_every_kind_of_value_that_a_program_returns(asserts, body):
    stack = (
        "class Stack:\n    def __init__(self): self.held = []\n    def push(self, x): self.held.append(x)\n"
    )
    stack += "    def pop(self): return self.held.pop()\n"
    assert CODE.accepts(json.dumps(asserts), f"{stack}def f(n):\n    {body}")
    assert not CODE.accepts(json.dumps([*asserts, "assert f(1) == 'no'"]), f"{stack}def f(n):\n    {body}")


def test_a_function_may_have_the_name_of_one_that_python_has():
    assert CODE.accepts(json.dumps(["assert sum(1, 2) == 4"]), "def sum(a, b): return a + b + 1")


def test_equal_values_are_equal_whatever_json_made_of_them():
    cases = json.dumps({"function": "f", "cases": [[[1], [1, 2.0]], [[2], {"1": 0.3}]]})
    assert CODE.accepts(cases, "def f(n):\n    return (1, 2) if n == 1 else {1: 0.1 + 0.2}")
    truthy = json.dumps({"function": "f", "cases": [[[1], True]]})
    assert not CODE.accepts(truthy, "def f(n):\n    return 1")


@pytest.mark.parametrize(
    "truth", ["12", "{}", '{"function": "f"}', '{"function": "f", "cases": [1]}', "def f"]
)
def test_an_answer_that_is_no_test_is_refused(truth):
    with pytest.raises(ValueError, match=r"needs|needed|no JSON"):
        CODE.check_truth(truth)
