"""The page as a file: what is in it, and what is not."""

from __future__ import annotations

import hashlib
import re
import zlib
from base64 import b64decode
from importlib.resources import files
from pathlib import Path

import msgspec

from orchestrator.explore.page import KATEX, SCRIPTS, scripts, write
from tests.support.explored import reader, searched
from tests.support.scripted import EOS, ScriptedEngine

PAGE = files("orchestrator.explore") / "page"
PUBLISHED = "fa140498b8cfc8302cbe5e7cb1bdbc1f952bc38b3fa258ede09e73edbf9a74bc"
"""The SHA-256 of dist/katex.min.js in katex 0.19.1 of the npm registry."""
HOSTILE = "</script><img src=x onerror=alert(1)>"


def test_katex_is_the_published_file_and_its_licence_is_beside_it():
    content = (PAGE / KATEX).read_bytes()
    assert hashlib.sha256(content).hexdigest() == PUBLISHED
    assert b"</script" not in content.lower()
    assert (PAGE / "katex-LICENSE").read_text().startswith("The MIT License (MIT)")


def test_every_module_of_the_page_is_in_it_after_those_that_it_imports():
    there = {path.name for path in PAGE.iterdir() if path.name.endswith(".js")}
    assert there == {KATEX, *(f"{name}.js" for name in SCRIPTS)}
    for number, name in enumerate(SCRIPTS):
        imported = re.findall(r'from "\./(\w+)\.js"', (PAGE / f"{name}.js").read_text())
        assert {*imported} <= {*SCRIPTS[:number]}, name
    joined = scripts()
    assert not re.search(r"^(import|export) ", joined, re.MULTILINE)
    assert "</script" not in joined.lower()
    assert "innerHTML" not in joined  # text reaches the page as text alone


async def test_what_models_wrote_is_in_the_page_as_packed_data_alone(tmp_path: Path):
    run = tmp_path / "run <b>"
    await searched(
        run, "best_of_n", ScriptedEngine(lambda request, text, rng: f"{HOSTILE}\n"[:29] + EOS), n=2
    )
    with reader(run) as read:
        (explored,) = write([read], tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "onerror" not in html
    assert "<title>run &lt;b&gt; – ttc explore</title>" in html
    packed = dict(re.findall(r'<script type="text/plain" id="([\w-]+)">([\w+/=]+)</script>', html))
    assert packed.keys() == {"runs", "tree-0-0", "tree-0-1"}
    assert msgspec.json.decode(zlib.decompress(b64decode(packed["runs"])))[0][0] == explored.run
    assert b"<img" in zlib.decompress(b64decode(packed["tree-0-0"]))


async def test_the_page_asks_for_nothing_and_runs_only_what_its_policy_names(tmp_path: Path):
    await searched(tmp_path / "run", "best_of_n", n=2)
    with reader(tmp_path / "run") as read:
        write([read], tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", html)
    assert "katex" not in html.split('<script type="module">')[0]  # no text has a formula
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
