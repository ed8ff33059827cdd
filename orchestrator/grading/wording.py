"""Takes off an answer what says nothing of its value: typesetting, units, currencies, text around it."""

from __future__ import annotations

import re

from orchestrator.grading.units import MULTIPLY, is_unit

UNICODE = {
    **{"−": "-", "–": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div "},
    **{
        "≤": r"\le ",
        "⩽": r"\le ",
        "≥": r"\ge ",
        "⩾": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "≡": r"\equiv ",
    },
    **{"∞": r"\infty ", "π": r"\pi ", "√": r"\sqrt ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap "},
    **{"∈": r"\in ", "±": r"\pm ", "∓": r"\mp ", "∅": r"\emptyset ", "∠": r"\angle ", "△": r"\triangle "},
    **{"½": r"\frac12 ", "¼": r"\frac14 ", "¾": r"\frac34 ", "⅓": r"\frac13 ", "⅔": r"\frac23 "},
    **{"θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "φ": r"\phi "},
    **{"′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "％": "%", "，": ",", "（": "(", "）": ")"},
    **{"\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "ℝ": r"\mathbb{R}", "⁄": "/"},
}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_UNICODE = str.maketrans(UNICODE)
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")

_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|mleft|mright)(?![A-Za-z])\.?")
_STYLES = re.compile(
    r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|bf|rm|it|sf|boldmath)(?![A-Za-z])"
)
_SPACES = re.compile(
    r"(?<!\\)\\[,;:!> ]|~|\\(?:quad|qquad|thinspace|medspace|enspace|hspace\{[^{}]*\})(?![A-Za-z])"
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|\{\\,\}|,\\,)\s*(?=\d{3}(?!\d))")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|tt|sf)?|mbox|hbox|math(?:rm|it|sf)|operatorname)(?![A-Za-z])\*?\s*"
)
_MATHBF = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|pmb|underline|emph|color\{[^{}]*\}|textcolor\{[^{}]*\})\s*(?=\{)"
)
_RELATIONS = {r"\leq": r"\le", r"\leqslant": r"\le", r"\geq": r"\ge", r"\geqslant": r"\ge", r"\neq": r"\ne"}
_RELATION = re.compile(r"\\(?:leqslant|geqslant|leq|geq|neq|lt|gt)(?![A-Za-z])")
_EMPTY = re.compile(r"\\(?:varnothing|emptyset)(?![A-Za-z])|\\\{\s*\\\}|^\{\s*\}$")

PERCENT = re.compile(r"\s*(?:\\%|%|(?:\bper ?cent(?:age)?|\bpct)\b\.?)\s*$", re.IGNORECASE)
CURRENCY = r"(?:\\\$|\$|€|£|¥|₹|\\pounds|\\euro|USD|US\\\$|Rs\.?)"
_CURRENCY_BEFORE = re.compile(rf"^(-?)\s*({CURRENCY})\s*(?=[-\d.\\(])")
_CURRENCY_AFTER = re.compile(rf"(?<=[\d}})])\s*{CURRENCY}$")

_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
_UNIT_WORD = rf"[A-Za-z]+(?:\.[A-Za-z]\.?)?{_POWER}"
_UNIT_AFTER = re.compile(
    rf"(?:(?<=[\d}})!%.])|(?<=\\pi)(?=\s))(?P<times>\s*(?:{'|'.join(MULTIPLY)})s?(?=\s))?"
    rf"(?P<unit>\s*(?:per\s+)?{_UNIT_WORD}(?:(?:\s*/\s*|[ -]+){_UNIT_WORD})*+)\s*\.?$"
)
_BRACED_UNIT = re.compile(rf"\s*\{{\s*([^{{}}]*)\}}{_POWER}\s*\.?$")
_SYMBOL = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_DEGREES = re.compile(r"\s*(?:\^?\s*\{?\s*\\circ\s*\}?\s*[CFK]|\\degrees?\s*[CFK]?)\s*$")
FUNCTIONS = re.compile(
    r"(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|infinity|inf|max|min|gcd|lcm|abs|arc\w+|and|or|mod|base)$"
)


_VECTOR = re.compile(r"\\langle(?![A-Za-z])([^\\]*(?:\\(?!rangle|langle)[^\\]*)*+)\\rangle(?![A-Za-z])")
_MINUS = re.compile(
    r"^(?:\\text\{\s*(?:negative|minus)\s*\}|(?:negative|minus)\b)\s*(?=[\d.\\$])", re.IGNORECASE
)


def tidy(text: str) -> str:
    """Returns the text without delimiters of mathematics, sizes, spacing, styles and a full stop."""
    text = text.strip()
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda found: f"^{{{found.group().translate(_SUPERSCRIPTS)}}}", text)
        text = text.translate(_UNICODE)
    text = _undelimited(text)
    if "\\" in text:
        text = _THOUSANDS.sub("", text)
        text = _SIZES.sub("", text)
        text = _STYLES.sub("", text)
        text = _SPACES.sub(" ", text)
        text = _MATHBF.sub("", text)
        text = _RELATION.sub(lambda found: _RELATIONS.get(found.group(), found.group()), text)
        text = text.replace(r"\lbrace", r"\{").replace(r"\rbrace", r"\}").replace(r"\lt", "<")
        text = text.replace(r"\gt", ">").replace(r"\land", r"\wedge").replace(r"\lor", r"\vee")
        text = _VECTOR.sub(r"(\1)", text)
        text = text.replace(r"\dots", r"\ldots").replace(r"\cdots", r"\ldots")
    elif "{,}" in text:
        text = _THOUSANDS.sub("", text)
    text = _MINUS.sub("-", text)
    text = _EMPTY.sub(r"\\emptyset ", text)
    text = text.replace("<=", r"\le ").replace(">=", r"\ge ").replace("!=", r"\ne ")
    return re.sub(r"\s+", " ", text).strip().rstrip(".;,:").strip()


def _undelimited(text: str) -> str:
    """The text without what delimits mathematics, emphasis or quotes, where that is around all of it."""
    while True:
        before = text
        text = text.strip().strip("*`").strip()
        for start, end in (
            ("$$", "$$"),
            ("$", "$"),
            (r"\(", r"\)"),
            (r"\[", r"\]"),
            ('"', '"'),
            ("''", "''"),
        ):
            inner = text[len(start) : -len(end)]
            around = text.startswith(start) and text.endswith(end) and len(text) > len(start) + len(end)
            if around and start not in inner and not inner.endswith("\\"):
                text = inner
        ended = re.fullmatch(r"(\$[^$]+\$|\\\([^()]*\\\))\s*\.", text)
        text = ended.group(1) if ended else text
        if text == before:
            return text


def braces_end(text: str, start: int) -> int:
    """Returns the place of the brace that closes the one at ``start``; -1 where none does."""
    depth = 0
    at = start
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
        at += 1
    return -1


def unwrapped(text: str) -> str:
    """Returns the text with each ``\\text{…}`` replaced by what is in it."""
    while (found := _TEXT.search(text)) is not None:
        at = found.end()
        if at < len(text) and text[at] == "{" and (end := braces_end(text, at)) > 0:
            text = f"{text[: found.start()]} {text[at + 1 : end]} {text[end + 1 :]}"
        else:
            text = f"{text[: found.start()]} {text[at:]}"
    return re.sub(r"\s+", " ", text).strip()


def without_unit(text: str) -> tuple[str, str]:
    """Returns the text without the unit, currency or degrees of its number, and what was taken off."""
    taken = ""
    for _ in range(4):
        before = text
        if (found := _CURRENCY_BEFORE.match(text)) is not None:
            text, taken = found.group(1) + text[found.end() :], f"{found.group(2)} {taken}"
        if (paid := _CURRENCY_AFTER.search(text)) is not None:
            text, taken = text[: paid.start()], f"{paid.group()} {taken}"
        text, unit = _without_text(text)
        taken = f"{unit} {taken}".strip()
        after = _UNIT_AFTER.search(text)
        if (
            after is not None
            and not _mathematics(after["unit"])
            and is_unit(
                after["unit"],
                marked=text[: after.start()] == "1" and after["unit"][0] == " ",
                apart=after["unit"][0] == " " and not _SYMBOL.search(text, 0, after.start()),
            )
        ):
            text, taken = text[: after.start("unit")], f"{after['unit'].strip()} {taken}"
        if r"\circ" in text or r"\degree" in text:
            text = _DEGREES.sub("", text)
        text = text.strip()
        if text == before:
            break
    return text, taken.strip()


def _mathematics(words: str) -> bool:
    first = re.match(r"\s*(?!min\.?$)([A-Za-z]+)", words)
    return bool(first and (FUNCTIONS.match(first.group(1)) or re.search(r"\bor\b|\band\b", words)))


def _without_text(text: str) -> tuple[str, str]:
    r"""Takes off a \text{…} at the end, unless it is all there is, or joins two parts."""
    starts = list(_TEXT.finditer(text))
    if not starts or starts[-1].start() == 0:
        return text, ""
    found = starts[-1]
    rest = _BRACED_UNIT.fullmatch(text, found.end())
    before = text[: found.start()].strip()
    if rest is None or not before or before[-1] in "+-*/=<>^_(,{":
        return text, ""
    word = rest.group(1).strip()
    if (
        re.fullmatch(r"(?:,?\s*(?:and|or),?)?", word)
        or PERCENT.fullmatch(word)
        or re.match(r"\(?base\b", word)
    ):
        return text, ""
    if not is_unit(word, marked=True):
        return text, ""
    return before, text[found.end() :].strip(" {}.").replace("}", "")
