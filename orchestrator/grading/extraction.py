"""Finds the answer in a solution's text, as it is written there.

In this order: the last box that is not empty; what follows ``####``, "final answer:", "the answer is" and the
like; the last formula; the last number. A text with none of them has no answer.
"""

from __future__ import annotations

import itertools
import re

from orchestrator.grading.wording import CURRENCY, braces_end

TAIL = 20_000
"""Characters of the end of a text in which an answer is looked for."""
BETWEEN = 40
"""Characters between two boxes that are one list."""
PHRASES = 20
"""Phrases that announce an answer which are looked at, from the last one on."""
SENTENCE = 2000
"""Characters of an answer that is announced."""
NESTED = 8
"""Boxes within each other that are unwrapped."""

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BETWEEN = re.compile(
    r"[\s$.]*(?:\\[\])(]|\\text\{)?[\s$]*(?:,?\s*(?:and|or)|,|;)[\s$]*\}?(?:\\[\])(])?[\s$]*([A-Za-z](?:_\{?\w\}?)?\s*=\s*)?"
)
_NAMED = re.compile(r"([A-Za-z](?:_\{?\w\}?)?\s*=\s*)$")
_PHRASE = re.compile(
    r"####\s*"
    r"|(?:答案|答え)\s*(?:是|为|為|は|[:：])+\s*"
    r"|\b(?:ответ|respuesta|r[ée]ponse|antwort|risposta|resposta)\s*[:：]\s*"
    r"|\b(?:answers?|option|choice|solutions?)\b(?:\s+(?:to|of|for)\s+[^.:\n]{1,60}?)?\s*"
    r"(?:[*_`\"]*\s*(?:(?:is|are)\b(?:\s*[:=])?|[:=])[*_`]*\s*)"
    r"(?:\s*+(?:therefore|thus|hence|then|indeed|now|simply|just|exactly|approximately|about|roughly|around"
    r"|equal to|given by|option|choice)\b[\s:,]*+)*+",
    re.IGNORECASE,
)
_DISPLAY = re.compile(
    r"\$\$(.{1,1500}?)\$\$|\\\[(.{1,1500}?)\\\]|\\\((.{1,1500}?)\\\)|(?<![\\$])\$(?!\s*$)((?:[^$\\\n]|\\.|\n(?!\n)){1,1500}?)\$",
    re.DOTALL,
)
_NUMBER = re.compile(
    rf"(?:{CURRENCY}\s*)?(?<![\w.])[-−+]?(?:\d+\s+\d+/\d+|\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?|\.\d+)"
    r"(?:[eE][+-]?\d+\b)?(?:\s*(?:\\%|%|percent\b))?"
)
_SENTENCE = re.compile(r"(?<!\bvs)(?<![ap]\.m)[.!?](?=\s|$|[*\"')\]]+(?:\s|$))|[。！？\n]")
_AROUND = '\\s*_`"✅✔️☑🎯👉🔹📌💡🏁🟢'
_STARS = re.compile(rf"^(?:[{_AROUND}>:–—#]|-(?=[\s-]))+(?=\S)|[{_AROUND}]+$")
_MINUS = re.compile(r"[*_`: \t]*(?:[-−–]|\b(?:negative|minus)\b)[ \t]*(?=\$|\\[(\[A-Za-z]|\(?\d|\.\d)")
"""A sign before what is announced, on the same line: on a line of its own "- 5" is a point of a list."""
_SIGN_OF_BOX = re.compile(r"(?:=|\$|\\[(\[]|:|\bis|\\approx)\s*[-−]\s*$")
_NOT = re.compile(
    r"\b(?:answer|solution|option|choice)\s+(?:is\s+not|isn['’]t)\s[^\n]{0,80}?(?:,?\s+but\b|[.,;!?](?=\s|$)|(?=\n|$))",
    re.IGNORECASE,
)
_HTML = re.compile(r"<(b|i|u|em|strong|mark|code)>([^<>]{0,300})</\1>", re.IGNORECASE)
_JSON = re.compile(
    r'"(?:final_?)?answer"\s*:\s*(?:"((?:[^"\\]|\\.){1,2000}+)"|(-?\d[\d.eE+-]*+))\s*[,}]', re.IGNORECASE
)
_VERDICT = frozenset(
    ("correct", "right", "wrong", "incorrect", "verified", "clear", "complete", "as follows")
)
"""What is said of an answer and is one only where nothing else is."""
_BOUND = re.compile(
    r"\b(?:at least|at most|(?:less|fewer|greater|more|larger|smaller) than|between|not|above|below|up to)"
    r"(?: or equal to)?\s*$",
    re.IGNORECASE,
)
_LIST = re.compile(r"\s*(?:,?\s*(?:and|or)\b|,|;)\s*")
_CLAUSE = re.compile(r"\s+(?:is|are|was|were|has|have|must|can|will|we|satisf\w+|holds?)\b")
"""What follows a formula that begins another statement: and $x$ is positive."""
_OPERATOR = re.compile(r"\s*[-+*/]\s*(?=\$|\\\()")
_ASIDE = re.compile(r"\s*\((?:not|and not|rather than)\b[^()]*\)$")
_WRONG = re.compile(r"[\s$.)\]\\]*(?:is|was)\s+(?:wrong|incorrect|not (?:right|correct|the answer))\b")
_ON = re.compile(
    r"\s*(?:\\(?:pi|sqrt|frac|cdot|times|ln|log|theta|alpha|beta)(?![A-Za-z])|[a-zA-Z](?<![mgshlLNJWVAKCF])(?![A-Za-z])|[!%(]|\\%|\^\{?[-\dA-Za-z])"
)
"""What follows a box in its formula and is a factor of it."""
_APART = re.compile(r"=|\\(?:to|quad|text|le|ge|approx)(?![A-Za-z])|[<>,;]|\b(?:and|or)\b")
_FURTHER = re.compile(r"\(?\b([A-J])\b\)?")
_FURTHERS = re.compile(
    r"(?:[\s$)]*(?:,\s*(?:and\b|or\b)?|;|&|and\b|or\b)\s*\(?[A-J]\)?(?![A-Za-z'’])"
    r"(?=\s*(?:[.,;)$\\*&]|and\b|or\b|$)))*"
)
_FULLWIDTH = {0xFF21 + i: 0x41 + i for i in range(26)}
_REASON = re.compile(r",?\s+(?:because|since|which|where|as|so|for)\b")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}(?![A-Za-z}])")


def extract(text: str) -> str | None:
    """Returns the answer of a text, trimmed; None if there is none."""
    text = _prepared(text)
    return boxed(text) or _tagged(text) or stated(text) or _formula(text) or _number(text)


def _prepared(text: str) -> str:
    """The end of a text, without what it says is not the answer and without emphasis of HTML."""
    text = text[-TAIL:]
    if "is not" in text or "isn" in text:
        text = _NOT.sub(lambda found: "answer is " if found.group().endswith("but") else "", text)
    return _HTML.sub(r"\2", text) if "</" in text else text


def _tagged(text: str) -> str | None:
    """The answer between the last ``<answer>`` and its end, or that a JSON object names."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    if start >= 0 and (inner := text[start + len("<answer>") : end].strip()):
        return stated(inner) or _of_sentence(inner)
    named = _JSON.findall(text) if 'nswer"' in text else []
    return (named[-1][0] or named[-1][1]).strip() or None if named else None


def boxed(text: str) -> str | None:
    """Returns what is in the last box that is not empty; boxes that "and", "or" or a comma joins are one
    list."""
    boxes: list[tuple[str, int, int]] = []
    ends = _braces(text) if _BOX.search(text) else {}
    for found in _BOX.finditer(text):
        start = found.end()
        if start < len(text) and text[start] == "{":
            if (end := ends.get(start)) is None:
                continue
            content, stop = text[start + 1 : end].strip(), end + 1
        else:
            bare = re.match(r"[^\s$\\{}.,;]+", text[start:])
            if bare is None:
                continue
            content, stop = bare.group(), start + bare.end()
        if boxes and found.start() < boxes[-1][2]:
            continue  # within the box before, which is unwrapped below
        if _WRONG.match(text, stop):
            continue
        if _SIGN_OF_BOX.search(text[max(0, found.start() - BETWEEN) : found.start()]):
            content = _negative(content) or ""
        boxes.append((content, found.start(), stop))
    boxes = [(inner, start, stop) for content, start, stop in boxes if (inner := _unboxed(content))]
    if not boxes:
        return None
    if (whole := _formula_of(text, boxes)) is not None:
        return whole
    answer, start, _ = boxes.pop()
    joined = [answer]
    while boxes and (between := _joining(text[boxes[-1][2] : start])) is not None:
        joined[0] = f"{between.group(1) or ''}{joined[0]}"
        answer, start, _ = boxes.pop()
        joined.insert(0, answer)
    if len(joined) > 1 and (name := _NAMED.search(text[:start])) and "=" in joined[1]:
        joined[0] = name.group(1) + joined[0]
    return ", ".join(dict.fromkeys(joined))


def _formula_of(text: str, boxes: list[tuple[str, int, int]]) -> str | None:
    r"""The formula whose parts boxes are: $y = \boxed{3}x + \boxed{4}$, $\boxed{3}\pi$.

    None where the last box fills its formula, or is a place in an equation.
    """
    last = boxes[-1]
    opened = [mark for mark in ("$", "\\(", "\\[") if mark in text]
    begin = max((text.rfind(mark, 0, last[1]) + len(mark) for mark in opened), default=0)
    ends = [at for mark in ("$", "\\)", "\\]", "\n\n") if (at := text.find(mark, last[2])) >= 0]
    if not begin or not ends or min(ends) - begin > SENTENCE:
        return None
    inside = [box for box in boxes if box[1] >= begin]
    after = text[last[2] : min(ends)]
    between = [text[one[2] : two[1]] for one, two in itertools.pairwise(inside)]
    if any(_PROSE.search(part) or _APART.search(part) for part in (*between, after)):
        return None
    if not between and not _ON.match(after):
        return None
    answer, at = "", inside[0][1]
    if before := re.search(r"=\s*([^=]*)$", text[begin:at]):
        answer = before.group(1)
    elif re.search(r"\\[A-Za-z]", text[begin:at]) is None:
        answer = text[begin:at]
    for content, start, stop in inside:
        answer += text[at:start] + content
        at = stop
    return (answer + after).strip().rstrip(".,;").strip()


def _joining(between: str) -> re.Match[str] | None:
    return _BETWEEN.fullmatch(between) if len(between) <= BETWEEN else None


def _braces(text: str) -> dict[int, int]:
    """The place of the closing brace, by that of the opening one."""
    found: dict[int, int] = {}
    open_: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace.group() == "{":
            open_.append(brace.start())
        elif brace.group() == "}" and open_:
            found[open_.pop()] = brace.start()
    return found


def _unboxed(content: str) -> str:
    """The content of the boxes within a box."""
    for _ in range(NESTED):
        found = _BOX.search(content)
        start = found.end() if found else 0
        end = braces_end(content, start) if found and content[start : start + 1] == "{" else -1
        if found is None or end < 0:
            break
        content = f"{content[: found.start()]}{content[start + 1 : end]}{content[end + 1 :]}".strip()
    return content


def stated(text: str) -> str | None:
    """Returns what follows the last phrase that announces an answer, to the end of its sentence or line."""
    verdict = None
    for found in _phrases(text):
        rest = text[found.end() : found.end() + SENTENCE].lstrip(" \t")
        if not rest.strip("*_ \n\t:"):
            continue
        said = found.group()
        on_one_line = "\n" not in said[len(said.rstrip()) :]
        if on_one_line and (minus := _MINUS.match(rest)) is not None:
            answer = _negative(_of_sentence(rest[minus.end() :]))
        else:
            answer = _of_sentence(_STARS.sub("", rest.lstrip("*_ \n\t:")) if rest else rest)
        if answer and answer.lower() in _VERDICT:
            verdict = verdict or answer
        elif answer:
            return answer
    return verdict


def _negative(answer: str | None) -> str | None:
    if answer is None or not re.search(r"(?<!^)[-+]", answer):
        return answer and f"-{answer}"
    return f"-({answer})"


def _phrases(text: str) -> list[re.Match[str]]:
    """The last phrases that announce an answer, from the last one on."""
    return list(_PHRASE.finditer(text))[: -PHRASES - 1 : -1]


def _of_sentence(rest: str) -> str | None:
    """The answer at the beginning of a text: its formula, or its words up to the end of the sentence."""
    display = _DISPLAY.match(rest)
    if display is not None and not _money(display.group()):
        return _with_next(rest, display)
    end = _SENTENCE.search(rest)
    sentence = rest if end is None else rest[: end.start()]
    first = _DISPLAY.search(sentence)
    if first is not None and not _money(first.group()):
        bound = _BOUND.search(sentence[: first.start()])
        return trimmed(sentence) if bound is not None else _with_next(sentence, first)
    sentence = trimmed(_REASON.split(sentence)[0]) or trimmed(sentence)
    sentence = _ASIDE.sub("", sentence)
    if not sentence:
        return None
    if len(_PROSE.findall(sentence)) > 6:
        return _number(sentence)
    return sentence


def _with_next(text: str, formula: re.Match[str]) -> str:
    """The formula and those which a comma, "and", "or" or a sign joins to it."""
    answer = _inner(formula)
    while True:
        at = formula.end()
        joined = _OPERATOR.match(text, at) or _LIST.match(text, at)
        following = _DISPLAY.match(text, joined.end()) if joined is not None else None
        if following is not None and (_money(following.group()) or _CLAUSE.match(text, following.end())):
            following = None
        if joined is None or following is None:
            symbol = re.match(r"[A-Za-z](?![A-Za-z])", text[at : at + 2])
            return f"{answer}{symbol.group()}" if symbol is not None else answer
        sign = joined.group().strip()
        answer = (
            f"{answer} {sign} {_inner(following)}" if sign in "+-*/" else f"{answer}, {_inner(following)}"
        )
        formula = following


def trimmed(text: str) -> str:
    """Returns the text without emphasis and signs of emphasis around it, and without a full stop."""
    before = None
    while text != before:
        before = text
        text = _STARS.sub("", text).strip().rstrip(".,;:!").strip()
    return text


def _money(formula: str) -> bool:
    """True where two amounts of dollars only look like a formula: $5 and $7."""
    return (
        formula.startswith("$")
        and not formula.startswith("$$")
        and bool(re.match(r"\$\d[\d,.]*\s+(?:[A-Za-z]{2,}|,)", formula))
    )


def _inner(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group is not None).strip()


def _formula(text: str) -> str | None:
    formulas = [found for found in _DISPLAY.finditer(text) if not _money(found.group())]
    if formulas:
        return _inner(formulas[-1]) or None
    line = text.strip()
    if line and "\n" not in line and len(line) <= 80 and not _PROSE.search(line):
        return trimmed(line) or None  # nothing but an answer
    return None


def _number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    return found[-1].strip().rstrip(",").replace("−", "-") if found else None


def letter(text: str) -> str | None:
    """Returns the letter of the choice that a text makes: in a box, in a phrase that announces an answer, or
    in parentheses."""
    text = _prepared(text.translate(_FULLWIDTH))
    found = boxed(text)
    if found is not None and (choice := _choice(found)) is not None:
        return choice
    for phrase in _phrases(text):
        rest = _STARS.sub("", text[phrase.end() : phrase.end() + 200].lstrip("*_ \n\t:$"))
        if (choice := _choice(rest.split("\n")[0])) is not None:
            return choice
    marked = list(re.finditer(r"\(([A-J])\)|\*\*\(?([A-J])\)?\.?\*\*", text))
    letters = [mark.group(1) or mark.group(2) for mark in marked]
    if marked and re.search(r"\b(?:options|choices)\b", text[: marked[0].start()], re.IGNORECASE):
        while letters and letters[0] == "ABCDEFGHIJ"[min(len(marked) - len(letters), 9)]:
            letters.pop(0)  # the choices that there are
    if letters:
        return letters[-1]
    if marked:
        return None
    alone = re.fullmatch(r"\W*([A-J])\W*", text)
    return alone.group(1) if alone else None


def _choice(text: str) -> str | None:
    plain = re.sub(r"\\(?:text|textbf|mathrm|mathbf|textrm)\s*", "", text).replace("{", "").replace("}", "")
    found = re.match(
        r"[\s*_`$\\(\[]*(?:option|choice)?\s*\(?([A-Ja-j])\)?(?![A-Za-z'’]|\s*[=<>+^/])(?=[\s).,:;*_`$\\\]。，]|$)",
        plain,
    )
    if found is None or (found.group(1).islower() and len(plain.strip(" ().*$")) > 1):
        return None
    if found.group(1) == "A" and re.match(r"\s*A\s+(?!and\b|or\b)[a-z]", plain):
        return None  # the article
    further = _FURTHERS.match(plain, found.end())
    letters = [found.group(1).upper(), *_FURTHER.findall(further.group() if further else "")]
    return ", ".join(sorted(set(letters)))
