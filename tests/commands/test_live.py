"""``--explore``: the page's own process, the port, the address, and the page at the end."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import time
import urllib.request
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from actors.messages import SampleResult
from orchestrator.commands.cli import run_command
from orchestrator.commands.live import LivePage
from orchestrator.config.generator import codec_of
from orchestrator.config.loading import load
from orchestrator.config.written import to_yaml
from orchestrator.durability.journal import Journal
from orchestrator.problems.lab import problems as lab_problems
from tests.support.paths import LAB_CONFIG

PREPARED = SimpleNamespace(budget=SimpleNamespace(flops=10**9))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Holds the run ``lab``, which goes on."""
    directory = tmp_path / "lab"
    directory.mkdir()
    config = load(LAB_CONFIG, ["problems.limit=2", f"runs={tmp_path}"])
    (directory / "config.yaml").write_text(to_yaml(config))
    codec = codec_of(config.generator)
    (problem,) = lab_problems("test")[:1]
    journal = Journal(directory / "journal.sqlite")
    tokens = codec.continuation(problem.answer.split("\n")[0] + "\n")
    result = SampleResult(f"{problem.id}/sample/0", tokens, "step", 40, "generator-0")
    journal.record(problem.id, result.id, result, 1000)
    journal.close()
    return tmp_path


def asked(*, explore: bool = True, port: int | None = None) -> argparse.Namespace:
    return argparse.Namespace(explore=explore, explore_port=port)


def address(said: StringIO) -> str:
    (line,) = [line for line in said.getvalue().splitlines() if line.startswith("see it search: ")]
    return line.removeprefix("see it search: ")


def first_event(url: str) -> dict:
    with urllib.request.urlopen(f"{url}events", timeout=60) as answer:
        return next(json.loads(line[6:]) for line in answer if line.startswith(b"data: "))


def gone(process: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_the_page_is_served_by_a_process_that_yields_and_ends_with_the_run(runs: Path):
    said = StringIO()
    with LivePage(asked(), str(runs), Console(file=said, width=200)) as page:
        page.begin("lab", PREPARED)
        page.begin("lab", PREPARED)
        url = address(said)
        assert url.startswith("http://127.0.0.1:")
        data = first_event(url)
        assert (data["run"], data["fault"], data["news"]["problems"]) == ("lab", None, 2)
        ((_, row),) = data["news"]["rows"]
        assert row[0] == "lab-test-0000"
        assert row[1], "its question is known"
        process = page._process.pid
        assert os.getpriority(os.PRIO_PROCESS, process) == os.getpriority(os.PRIO_PROCESS, 0) + 10
        assert os.getsid(process) != os.getsid(0), "Ctrl-C is for the run"
        page.finish(["lab"])
        assert (runs / "lab" / "explore.html").is_file()
    assert gone(process)
    assert "warning" not in said.getvalue()
    assert f"{runs}/lab/explore.html: 1 search" in said.getvalue()


def test_a_command_that_is_killed_takes_its_page_with_it(runs: Path):
    listening, done = os.pipe()
    child = os.fork()
    if not child:  # the command: it is killed, and closes nothing
        said = StringIO()
        page = LivePage(asked(), str(runs), Console(file=said, width=200))
        page.begin("lab", PREPARED)
        first_event(address(said))
        os.write(done, str(page._process.pid).encode())
        signal.pause()
    process = int(os.read(listening, 20))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert gone(process)


def test_a_page_that_breaks_is_told_of_and_costs_the_run_nothing(runs: Path):
    said = StringIO()
    with LivePage(asked(), str(runs), Console(file=said, width=200)) as page:
        page.begin("lab", PREPARED)
        os.kill(page._process.pid, signal.SIGKILL)
        page._process.wait()
        deadline = time.monotonic() + 20
        while "warning" not in said.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        page.begin("lab", PREPARED)
        page.finish(["none"])
    assert "warning: the live page is gone, and the run goes on" in said.getvalue()
    assert "warning: the page of the searches is not written: " in said.getvalue()


def test_a_page_that_cannot_be_written_costs_the_run_nothing(runs: Path, monkeypatch):
    def broken(*_):
        raise ValueError("what nobody has thought of")

    monkeypatch.setattr("orchestrator.commands.explore.explore", broken)
    said = StringIO()
    with LivePage(asked(), str(runs), Console(file=said, width=200)) as page:
        page.begin("lab", PREPARED)
        page.finish(["lab"])
    (line,) = [line for line in said.getvalue().splitlines() if "warning" in line]
    assert line == (
        "warning: the page of the searches is not written: ValueError: what nobody has thought of"
    )


def test_without_it_nothing_is_started(runs: Path):
    with LivePage(asked(explore=False), str(runs), Console(file=StringIO())) as page:
        page.begin("lab", PREPARED)
        page.finish(["lab"])
        assert page._process is None
    assert not (runs / "lab" / "explore.html").exists()


@pytest.mark.parametrize("verb", ["run", "resume", "sweep"])
def test_a_port_that_cannot_be_had_is_told_in_a_line_before_anything_starts(
    runs: Path, capsys: pytest.CaptureFixture[str], verb: str
):
    what = {"run": str(LAB_CONFIG), "resume": "lab", "sweep": str(LAB_CONFIG.with_name("lab-sweep.yaml"))}[
        verb
    ]
    where = ["--runs", str(runs)] if verb == "resume" else [f"runs={runs}"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run_command([verb, what, *where, "--explore-port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"ttc: port {port} cannot be used (Address already in use); take another: --explore-port"
    assert run_command([verb, what, *where, "--explore-port", "70000"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "ttc: --explore-port: 70000 is not usable; allowed: 1 to 65535"
