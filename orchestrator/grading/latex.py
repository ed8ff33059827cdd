"""Reads a mathematical expression, as LaTeX or as it is typed, into a tree. It computes nothing.

A tree is a tuple of an operation and its operands: ``("num", Fraction)``, ``("sym", "x")``,
``("const", "pi")``, ``("add", a, b)``, ``("fn", "sin", a)`` and so on; ``values`` computes them.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any

Tree = tuple[Any, ...]

DEPTH = 60
"""The most groups within each other."""
EXPONENT = 5000
"""The largest power of ten in which a number is written: 1e5000."""
TOKENS = 1500
"""The most tokens of an expression."""


class Unreadable(Exception):
    """The text is no expression that is known here."""


CONSTANTS = {r"\pi": "pi", "pi": "pi", r"\infty": "inf", "infinity": "inf", "inf": "inf", "e": "e", "i": "i"}
_FUNCTIONS = """
sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch
arcsinh arccosh arctanh arsinh arcosh artanh asin acos atan log ln lg exp sqrt abs floor ceil max
min gcd lcm Re Im
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
_GREEK = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho
sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega
"""
GREEK = _GREEK.split()
WORDS = sorted([*FUNCTIONS, "pi", "infinity", "inf", *GREEK], key=len, reverse=True)
"""Names that count as one where they are typed without a backslash."""
_TOKEN = re.compile(
    r"\s+|(?P<num>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\d.A-Za-z]))?)"
    r"|(?P<cmd>\\(?:[A-Za-z]+|[%{}|]))"
    rf"|(?P<word>(?:{'|'.join(WORDS)})(?![a-z]))"
    r"|(?P<letter>[A-Za-z]'*)|(?P<op>\*\*|[-=+*/^_(){}\[\]|!,%])"
)
SAME = {
    **dict.fromkeys((r"\times", r"\cdot", r"\ast", "*"), "*"),
    **dict.fromkeys((r"\div", "/"), "/"),
    "**": "^",
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac"), r"\frac"),
    **dict.fromkeys((r"\dbinom", r"\tbinom"), r"\binom"),
    **dict.fromkeys((r"\lvert", r"\rvert", r"\vert", r"\mid", r"\|", r"\lVert", r"\rVert", r"\Vert"), "|"),
    r"\%": "%",
    r"\operatorname": "",
    r"\limits": "",
}
OPENS = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", "|": "|"}
CLOSES = frozenset([*OPENS.values(), ","])


def read(text: str) -> Tree:
    """Returns the tree of an expression. Raises Unreadable."""
    return _Reader(text).all()


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(found) > TOKENS:
            raise Unreadable(text)
        at = match.end()
        if match.lastgroup is not None:
            token = match.group()
            token = SAME.get(token, token)
            if token:
                found.append((match.lastgroup, token))
    return found


class _Reader:
    """Goes over the tokens once; each method takes what it reads."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0
        texts = [token for _, token in self.tokens]
        called = any(a[0] in "fF" and b == "(" for a, b in itertools.pairwise(texts))
        self.called = "fFgGh" if called else ""
        """Letters that are functions where a parenthesis follows: g(f(x)), while g(h - 1) is a product."""
        self.bars = 0
        """Bars of absolute values that are open, so that a bar there ends one."""

    def all(self) -> Tree:
        if not self.tokens:
            raise Unreadable("")
        tree = self.sum()
        if self.at < len(self.tokens):
            raise Unreadable(self.next)
        return tree

    @property
    def next(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self, token: str | None = None) -> str:
        found = self.next
        if not found or (token is not None and found != token):
            raise Unreadable(f"{token or 'more'} is missing")
        self.at += 1
        return found

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable("too many groups within each other")
        terms = [self.signed()]
        while self.next in ("+", "-", r"\pm", r"\mp"):
            terms.append(self.signed())
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def signed(self) -> Tree:
        """A term with the signs before it."""
        signs = []
        while self.next in ("+", "-", r"\pm", r"\mp"):
            signs.append(self.take())
        tree = self.product()
        for sign in reversed(signs):
            tree = {"+": tree, "-": ("neg", tree), r"\pm": ("pm", tree), r"\mp": ("mp", tree)}[sign]
        return tree

    def product(self) -> Tree:
        tree = self.factor()
        while True:
            if self.next == "*":
                self.take()
                tree = ("mul", tree, self.signed_factor())
            elif self.next == "/":
                self.take()
                tree = ("div", tree, self.signed_factor())
            elif self.starts_factor():
                tree = ("mul", tree, self.factor())
            else:
                return tree

    def signed_factor(self) -> Tree:
        if self.next in ("-", "+"):
            return ("neg", self.signed_factor()) if self.take() == "-" else self.signed_factor()
        return self.factor()

    def starts_factor(self) -> bool:
        """True where a factor follows without a sign of multiplication. Two numbers side by side are none."""
        token = self.next
        if self.kind == "num":
            return self.tokens[self.at - 1][0] != "num"
        if token == "|":
            return self.bars == 0
        return bool(token) and (
            self.kind in ("letter", "word")
            or token in OPENS
            or (self.kind == "cmd" and token not in (r"\pm", r"\mp", "%", r"\choose", r"\circ", *CLOSES))
        )

    def factor(self) -> Tree:
        tree = self.postfix(self.atom())
        # A whole number before a fraction of numbers: 2\frac{3}{4}, 2 3/4.
        if tree[0] == "num" and tree[1].denominator == 1 and self.tokens[self.at - 1][0] == "num":
            if self.next == r"\frac":
                back = self.at
                part = self.atom()
                if part[0] == "div" and all(p[0] == "num" for p in part[1:]) and self.next != "^":
                    return ("add", tree, part)
                self.at = back
            elif self.kind == "num" and self.tokens[self.at + 1 : self.at + 2] == [("op", "/")]:
                over = self.number()
                self.take("/")
                if self.kind != "num":
                    raise Unreadable(self.next)
                return ("add", tree, ("div", over, self.number()))
        return tree

    def postfix(self, tree: Tree) -> Tree:
        while True:
            if self.next == "!":
                self.take()
                tree = ("fn", "factorial", tree)
            elif self.next == "%":
                self.take()
                tree = ("div", tree, ("num", Fraction(100)))
            elif self.next == r"\choose":
                self.take()
                return ("fn", "binom", tree, self.sum())
            elif self.next == r"\circ":  # typed without its ^
                self.take()
                tree = ("deg", tree)
            elif self.next == "^":
                self.take()
                tree = ("deg", tree) if self.degree() else ("pow", tree, self.script())
            else:
                return tree

    def degree(self) -> bool:
        for form in (["{", r"\circ", "}"], [r"\circ"], ["{", "circ", "}"]):
            if [token for _, token in self.tokens[self.at : self.at + len(form)]] == form:
                self.at += len(form)
                return True
        return False

    def script(self) -> Tree:
        """What stands after ^ or _."""
        if self.next in ("-", "+"):
            return ("neg", self.script()) if self.take() == "-" else self.script()
        if self.next in ("{", "("):
            return self.group()
        return self.atom()

    def argument(self) -> Tree:
        """An argument of a command: a group, or one digit or letter."""
        if self.next == "{":
            return self.group()
        if self.kind == "num":
            token = self.take()
            if len(token) > 1 and token.isdigit():
                self.at -= 1
                self.tokens[self.at] = ("num", token[1:])
                # What precedes is no number that this one could be a fraction beside.
                return ("num", Fraction(token[0]))
            self.at -= 1
            return self.number()
        return self.atom()

    def group(self) -> Tree:
        close = OPENS[self.take()]
        bars, self.bars = self.bars, int(close == "|")
        tree = self.sum()
        self.bars = bars
        self.take(close)
        return tree

    def number(self) -> Tree:
        token = self.take()
        power = token.lower().partition("e")[2].lstrip("+-").lstrip("0")
        if len(power) > 4 or int(power or "0") > EXPONENT:
            raise Unreadable(token)
        value = Fraction(token + "0" if token.endswith(".") else token)
        if self.next in (r"\overline", r"\bar", r"\dot"):  # 0.1\overline{6}
            self.take()
            digits = self.repeating()
            places = len(token.partition(".")[2])
            if "." not in token:
                raise Unreadable(token)
            value += Fraction(int(digits), 10**places * (10 ** len(digits) - 1))
        return ("num", value)

    def repeating(self) -> str:
        braced = self.next == "{" and bool(self.take())
        digits = self.take()
        if not digits.isdigit():
            raise Unreadable(digits)
        if braced:
            self.take("}")
        return digits

    def atom(self) -> Tree:
        token, kind = self.next, self.kind
        if kind == "num":
            return self.number()
        if token == "|":
            return ("fn", "abs", self.group())
        if token in (r"\lfloor", r"\lceil"):
            return ("fn", "floor" if token == r"\lfloor" else "ceil", self.group())
        if token in OPENS and token != r"\{":
            return self.group()
        name = token.lstrip("\\")
        if kind in ("cmd", "word", "letter"):
            self.take()
            if name in FUNCTIONS:
                return self.function(name)
            if token in (r"\frac", r"\binom"):
                over = self.argument()
                under = self.argument()
                return ("div", over, under) if token == r"\frac" else ("fn", "binom", over, under)
            if token in (r"\sum", r"\prod"):
                return self.series(name)
            if token in CONSTANTS and not (token in ("e", "i") and self.next == "_"):
                return ("const", CONSTANTS[token])
            if kind == "letter" and name[0] in self.called and self.next == "(":
                return ("call", name, *self.arguments())
            if kind == "letter" or name in GREEK:
                return ("sym", name + self.subscript())
            if token in (r"\overline", r"\bar", r"\vec", r"\hat", r"\mathbf", r"\boldsymbol", r"\mathcal"):
                return self.decorated(name)
        raise Unreadable(token)

    def decorated(self, how: str) -> Tree:
        """An accented letter, which is another symbol than the letter."""
        braced = self.next == "{" and bool(self.take())
        letter = self.take()
        if not letter.lstrip("\\").isalpha():
            raise Unreadable(letter)
        if braced:
            self.take("}")
        return ("sym", f"{how} {letter}{self.subscript()}")

    def subscript(self) -> str:
        if self.next != "_":
            return ""
        self.take()
        if self.next != "{":
            return "_" + self.take()
        self.take()
        inner = []
        while self.next != "}":
            inner.append(self.take())
        self.take("}")
        return "_" + "".join(inner)

    def function(self, name: str) -> Tree:
        if name == "sqrt":
            return self.root()
        base = power = None
        while self.next in ("_", "^"):
            if self.take() == "_":
                base = self.script()
            else:
                power = self.script()
        arguments = self.arguments()
        inverse = power == ("neg", ("num", Fraction(1))) and name in (
            "sin",
            "cos",
            "tan",
            "cot",
            "sec",
            "csc",
        )
        if inverse:
            name, power = f"arc{name}", None
        if name in ("log", "lg") and base is None:
            base = ("num", Fraction(10))
        tree = ("fn", name, *arguments) if base is None else ("fn", "log", *arguments, base)
        return tree if power is None else ("pow", tree, power)

    def arguments(self) -> list[Tree]:
        """In parentheses, or a product without them: \\sin 2x."""
        if self.next in ("(", "[", "{"):
            close = OPENS[self.take()]
            found = [self.sum()]
            while self.next == ",":
                self.take()
                found.append(self.sum())
            self.take(close)
            return found
        if self.next == "|":
            return [self.atom()]
        if self.next in ("-", "+"):
            return [self.signed_factor()]
        tree = self.factor()
        while self.starts_factor() and self.next.lstrip("\\") not in FUNCTIONS and self.next != "(":
            tree = ("mul", tree, self.factor())
        return [tree]

    def root(self) -> Tree:
        degree: Tree = ("num", Fraction(2))
        if self.next == "[":
            degree = self.group()
        if self.next == "(":
            return ("root", self.group(), degree)
        # \sqrt12 is meant as it is typed: the root of 12.
        of = self.number() if self.kind == "num" else self.argument()
        return ("root", of, degree)

    def series(self, name: str) -> Tree:
        """A sum or product from a whole number to another."""
        low = high = index = None
        while self.next in ("_", "^"):
            if self.take() == "^":
                high = self.script()
                continue
            self.take("{")
            index = self.take()
            self.take("=")
            if not index.isalpha():
                raise Unreadable(index)
            low = self.sum()
            self.take("}")
        if low is None or high is None or index is None:
            raise Unreadable(name)
        return (name, index, low, high, self.product())
