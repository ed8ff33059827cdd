"""Whatever is typed, and whatever the files hold: an exit status that is documented, and no traceback."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.commands.cli import run_command
from orchestrator.commands.terminal import show_json
from orchestrator.config.checks import ALLOCATIONS, LOG_LEVELS
from orchestrator.config.loading import load
from orchestrator.config.schema import LAB_MODELS, to_dict
from orchestrator.config.written import leaves
from orchestrator.tracking import spool
from tests.support.paths import LAB_CONFIG
from tests.support.stored import lab_config, sampled, store

NUL = '"\\0"'
"""In YAML a character that no path can have."""
ODD = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1.5",
        "1e400",
        "9" * 400,
        "nan",
        "inf",
        "true",
        "null",
        "no",
        "[]",
        "{}",
        "[1, a]",
        "{a: 1}",
        NUL,
        "${x}",
        "${oc.env:NO}",
        "${lab:no}",
        "\\${x}",
        "{a",
        "'",
        "!!bool x",
        "&a *a",
        "[" * 60,
        "é\ud800",
        "\x1b",
    ]
)
WORDS = ODD | st.text(max_size=6) | st.integers(-3, 70).map(str) | st.floats().map(str)
ELSEWHERE = ("model", "adapter", "path", "source", "subset", "endpoint", "revision", "runs", "address", "uri")
"""Ends of keys by whose values something is looked for over a network, or that say where is written."""
KNOWN = [key for key, _ in leaves(to_dict(load(LAB_CONFIG))) if not key.endswith(ELSEWHERE)]
KEYS = st.sampled_from(
    [
        *KNOWN,
        "strategy.name",
        "strategy",
        "budget.tokens",
        "budget.generations",
        "sweep",
        "sweep.grid",
        "base",
        "generator.engine.max_num_seqs",
        "problems.answers.name",
        "generator",
        "",
        ".",
        "a..b",
        "seed.x",
        "nosuch",
    ]
)
OVERRIDES = st.lists(
    st.builds("{}={}".format, KEYS, WORDS)
    | st.builds(
        "{}={}".format,
        st.sampled_from(
            ["generator.model", "verifier.model", "problems.path", "generator.adapter", "reviser.model"]
        ),
        st.sampled_from(["/nowhere", "null", "1", "${lab:no}", "[]", NUL]),
    )
    | st.builds("allocation.name={}".format, st.sampled_from(ALLOCATIONS))
    | st.builds(
        "strategy={}".format,
        st.sampled_from(["best_of_n", "{name: rebase, n: 4}", "{name: mcts, n: 4}", "{n: 4}", "{name: [1]}"]),
    )
    | WORDS,
    max_size=3,
)
FILES = ["config.yaml", "broken.yaml", "sweep.yaml", "none.yaml", "labels.parquet", "", "lab", "."]
CONTENTS = (
    st.binary(max_size=30)
    | WORDS.map(lambda text: text.encode(errors="surrogatepass"))
    | st.builds("base: {}\n{}: {}\n".format, st.just(LAB_CONFIG), KEYS, WORDS).map(
        lambda text: text.encode(errors="surrogatepass")
    )
    | st.builds(
        "base: {}\nsweep: {{{}: {}}}\n".format,
        st.just(LAB_CONFIG),
        st.sampled_from(["strategies", "grid", "models", "difficulty", "x"]),
        st.sampled_from(
            ["[]", "{}", "1", "[best_of_n]", "{seed: [0, 1]}", "{seed: 1}", "{samples: 0}", "null"]
        ),
    ).map(str.encode)
)


def options(**given: Any) -> st.SearchStrategy[list[str]]:
    """Some of these options, each with a value, or without one where it takes none."""
    each = []
    for name, values in given.items():
        option = "--" + name.replace("_", "-")
        each.append(st.just([option]) if values is None else values.map(lambda v, o=option: [o, v]))
    return st.lists(st.one_of(each), max_size=3).map(lambda found: [word for each in found for word in each])


FILE, LEVEL = st.sampled_from(FILES), st.sampled_from([*LOG_LEVELS, "x"])
RUN_ID = st.sampled_from(["lab", "none", "", "..", "/", "a" * 300])
RUNS = st.sampled_from(["runs", "none", "config.yaml", ""])
NUMBER = st.sampled_from(["1", "0", "-1", "1e9", "x", "", "nan"])
RULE = st.sampled_from(["weighted", "best", "x", ""])
EXPERIMENT = st.sampled_from(["lab", "runs/", "./runs/lab", "none", "", "/"])
STORE = st.sampled_from(["sqlite:///none/x.db", "http://[", "x", ""])


def command(*parts: Any) -> st.SearchStrategy[list[str]]:
    """The words of all parts, each a word, a strategy for one, or a strategy for several."""
    drawn = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*drawn).map(
        lambda found: [word for part in found for word in (part if isinstance(part, list) else [part])]
    )


COMMANDS = st.one_of(
    command("run", FILE, OVERRIDES, options(json=None, log_level=LEVEL)),
    command("run", "config.yaml", OVERRIDES, options(json=None, log_level=LEVEL)),
    command("check", FILE, OVERRIDES, options(json=None)),
    command("sweep", FILE, OVERRIDES, options(json=None, log_level=LEVEL)),
    command("resume", RUN_ID, OVERRIDES, options(json=None, runs=RUNS, log_level=LEVEL)),
    command("regrade", RUN_ID, OVERRIDES, options(json=None, runs=RUNS)),
    command("replay", st.lists(RUN_ID, max_size=2), options(runs=RUNS, uri=STORE)),
    command(
        "report",
        EXPERIMENT,
        options(rule=RULE, runs=RUNS, samples=NUMBER, price=NUMBER, table=RULE, out=FILE),
    ),
    command("explore", st.lists(RUN_ID, min_size=1, max_size=2), options(runs=RUNS, out=FILE)),
    command(
        "fit", EXPERIMENT, options(json=None, rule=RULE, runs=RUNS, samples=NUMBER, margin=NUMBER, out=FILE)
    ),
    command("verifier", "label", FILE, FILE, OVERRIDES, options(json=None, solutions=NUMBER, chains=NUMBER)),
    command(
        "verifier",
        "train",
        FILE,
        "--backbone",
        st.sampled_from([str(LAB_MODELS / "prm"), "/nowhere"]),
        "--out",
        FILE,
        options(steps=NUMBER, minutes=NUMBER, freeze=NUMBER, no_tracking=None),
    ),
    command("verifier", "convert", st.sampled_from(["/nowhere", ".", str(LAB_MODELS / "prm")]), FILE),
    command("lab", "train", st.sampled_from(["none", ""]), FILE, options(seed=NUMBER, minutes=NUMBER)),
    command("ui", options(runs=RUNS, port=NUMBER)),
    st.lists(WORDS | st.sampled_from(["lab", "verifier", "run", "-h", "--version", "--json"]), max_size=3),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory to work in, with a finished run; nothing in it starts an engine, or trains."""
    made, there = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("here")
    store(made / "lab", f"sqlite:///{made}/mlflow.db", lab_config(f"runs={made}"), sampled([0.5, 0.2], 2, 0))

    def ran(prepared: object, as_json: bool, *arguments: object, **more: object) -> int:
        if as_json:
            show_json({})
        return 0

    async def swept(self: object, display: object) -> list[object]:
        return []

    def becomes(*arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(there)
        patch.setattr("orchestrator.commands.launch.run", ran)
        patch.setattr("orchestrator.runs.sweep.Sweep.run", swept)
        patch.setattr("os.execvp", becomes)
        yield made


def broken(there: Path, made: Path, contents: bytes, torn: tuple[str, int] | None) -> None:
    """Puts the files in place: some hold ``contents``, and one of the run's has lost its end."""
    for old in there.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(made, there / "runs")
    (there / "config.yaml").write_text(f"base: {LAB_CONFIG}\nproblems: {{limit: 2}}\nruns: runs\n")
    (there / "sweep.yaml").write_text(
        f"base: {LAB_CONFIG}\nproblems: {{limit: 2}}\nruns: runs\nsweep: {{grid: {{seed: [0, 1]}}}}\n"
    )
    (there / "broken.yaml").write_bytes(contents)
    (there / "labels.parquet").write_bytes(contents)
    (there / "runs" / "lab" / spool.FILE).write_bytes(contents)
    if torn is not None:
        name, kept = torn
        path = there / "runs" / "lab" / name
        path.write_bytes(path.read_bytes()[:kept] if path.is_file() else contents)


TORN = st.none() | st.tuples(
    st.sampled_from(["summary.json", "config.yaml", "results.parquet", "journal.sqlite"]), st.integers(0, 400)
)


@settings(max_examples=80)
@given(words=COMMANDS, contents=CONTENTS, torn=TORN)
def test_any_command(here, words, contents, torn):
    broken(Path.cwd(), here, contents, torn)
    out, err = io.StringIO(), io.StringIO()
    parsed = True
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = run_command(words)
        except SystemExit as end:  # of argparse
            status, parsed = end.code, False
    said = f"{words}: {status}\n{out.getvalue()}\n{err.getvalue()}"
    assert status in (0, 1, 2, 130), said
    assert "Traceback" not in out.getvalue() + err.getvalue(), said
    if status == 2 and parsed and words[0] != "check":  # which tells all that is wrong
        lines = err.getvalue().splitlines()
        assert 1 <= len(lines) <= 3, said
        assert re.match(r"ttc( [a-z]+){0,2}: ", lines[-1]), said
        assert len(lines[-1]) < 1500, said
    if status == 0 and parsed and "--json" in words:
        assert isinstance(json.loads(out.getvalue()), dict), said
