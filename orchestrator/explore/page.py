"""Writes the page: one HTML file that needs no other, and asks for none.

What a model has written is in the page as compressed, Base64-encoded data alone, which the browser unpacks
problem by problem; the scripts put it on the screen as text. So none of it is ever read as HTML, and the
page's policy runs no script but its own, which it names by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import msgspec

from orchestrator.durability.files import replacing
from orchestrator.explore.description import Explored, Tree, fields

SCRIPTS = (
    *("dom", "live", "data", "text", "list", "layout", "tree", "play"),
    *("time", "reader", "why", "money", "work", "main"),
)
"""The modules of the page, each after those that it imports."""
KATEX = "katex-0.19.1.min.js"
"""Renders formulas; it is in the page where a text has any."""
FORMULA = re.compile(rb"\$|\\\\[(\[]")
"""What a formula begins with, in JSON."""
IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
EXPORT = re.compile(r"^export ", re.MULTILINE)


class Reader(Protocol):
    """Describes a run: ``explore.run.RunReader``."""

    def trees(self) -> Iterator[Tree]:
        """Yields the search of each problem."""

    def explored(self) -> Explored:
        """Returns the description of the whole, once all trees were taken."""


def write(readers: Sequence[Reader], out: Path) -> list[Explored]:
    """Writes the page of these runs to ``out``. Returns their descriptions. Raises OSError."""
    explored: list[Explored] = []
    formulas = False
    with replacing(out) as part, part.open("w", encoding="utf-8") as file:
        trees: list[str] = []
        for number, reader in enumerate(readers):
            for index, tree in enumerate(reader.trees()):
                encoded = msgspec.json.encode(tree)
                formulas = formulas or FORMULA.search(encoded) is not None
                trees.append(_block(f"tree-{number}-{index}", encoded))
            explored.append(reader.explored())
        head, tail = _frame([run.run for run in explored], formulas)
        file.write(head)
        file.write(_block("runs", msgspec.json.encode(explored)))
        file.writelines(trees)
        file.write(tail)
    return explored


def live_page(title: str) -> str:
    """Returns the page of a run that goes on: it has no data, and asks the server that it comes from."""
    return "".join(_frame([title], formulas=True, live=True))


def scripts() -> str:
    """Returns the page's own modules as one: their imports of each other are dropped."""
    return "\n".join(EXPORT.sub("", IMPORT.sub("", text)) for text in _sources())


def _sources() -> Iterator[str]:
    for name in SCRIPTS:
        yield _file(f"{name}.js")


def _frame(runs: Sequence[str], formulas: bool, *, live: bool = False) -> tuple[str, str]:
    """What stands before the data in the page, and after it."""
    from jinja2 import Environment, StrictUndefined

    code = [_file(KATEX)] if formulas else []
    own = scripts()
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    html = environment.from_string(_file("page.html")).render(
        title=" and ".join(runs),
        live=live,
        policy=" ".join(f"'{_digest(text)}'" for text in [*code, own]),
        style=_file("page.css"),
        fields=json.dumps(fields()),
        libraries=code,
        script=own,
    )
    head, _, tail = html.partition("<!-- data -->\n")
    return head, tail


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _block(name: str, content: bytes) -> str:
    packed = base64.b64encode(zlib.compress(content, 9)).decode()
    return f'<script type="text/plain" id="{name}">{packed}</script>\n'


def _file(name: str) -> str:
    return (files("orchestrator.explore") / "page" / name).read_text(encoding="utf-8")
