"""Standard output is for the result alone, and no stream ends a command."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.commands import cli, terminal
from orchestrator.commands.terminal import check_out, say, show, show_json, streams
from orchestrator.errors import BadInput
from tests.support.paths import ROOT


def test_what_is_not_the_result_goes_to_standard_error(capsys):
    with streams():
        print("noise of a strategy, of Ray, or of a replica")
        show_json({"accuracy": float("nan"), "n": 1})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"accuracy": None, "n": 1}
    assert err == "noise of a strategy, of Ray, or of a replica\n"


def test_numbers_of_numpy_are_numbers_of_json(capsys):
    import numpy as np

    with streams():
        show_json({"a": np.float64(0.5), "b": np.int64(3), 4: [np.bool_(True)]})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": 3, "4": [True]}


def test_a_line_is_printed_as_it_is():
    stream = StringIO()
    say(Console(file=stream, width=40), "root:x:0 [bold]not markup[/bold] \x1b[31mred " + "long " * 20, "red")
    assert stream.getvalue() == "root:x:0 [bold]not markup[/bold] \\x1b[31mred " + "long " * 20 + "\n"


def test_a_result_is_printed_as_it_is(capsys):
    with streams():
        show("root:x:0 [bold]")
    assert capsys.readouterr().out == "root:x:0 [bold]\n"


class Full(StringIO):
    """A stream on a full disk."""

    error: Exception = OSError(28, "No space left on device")

    def write(self, text: str) -> int:
        raise self.error


def test_a_result_that_does_not_fit_on_the_disk_is_a_failure_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_status", lambda options, errors: show_json({"a": 1}) or 0)
    monkeypatch.setattr(sys, "stdout", Full())
    assert cli.run_command(["ui"]) == 1
    line = "ttc: [Errno 28] No space left on device: the result is not on standard output\n"
    assert capsys.readouterr().err == line


def test_a_reader_that_has_gone_is_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_status", lambda options, errors: show_json({"a": 1}) or 0)
    gone = Full()
    gone.error = BrokenPipeError(32, "Broken pipe")
    monkeypatch.setattr(sys, "stdout", gone)
    assert cli.run_command(["ui"]) == 0
    assert capsys.readouterr().err == ""


def test_a_full_standard_error_does_not_end_a_command(monkeypatch, capsys):
    def command(options, errors):
        say(errors, "a notice")
        print("noise")
        show_json({"a": 1})
        return 0

    monkeypatch.setattr(cli, "_status", command)
    monkeypatch.setattr(sys, "stderr", Full())
    assert cli.run_command(["ui"]) == 0
    assert json.loads(capsys.readouterr().out) == {"a": 1}


CLOSED = """
import os, sys
from orchestrator.commands.terminal import open_standard_streams
open_standard_streams()
descriptor = os.open(os.devnull, os.O_RDONLY)
print("nobody reads this")
sys.stderr.write("nor this")
os._exit(0 if descriptor > 2 else 1)
"""


def test_a_closed_stream_is_replaced_before_another_file_takes_its_number():
    command = f"\"{sys.executable}\" -c '{CLOSED}' <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("arguments", [[], ["verifier"], ["lab"]])
def test_a_command_without_a_verb_lists_them(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run_command(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert all(f"\n    {verb} " in err for verb in (["run", "sweep", "ui"] if not arguments else ["train"]))


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run_command(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("ttc ")


@pytest.mark.parametrize("out", ["", "no/such/x.html", "/proc/x.html", "n" * 300])
def test_a_file_that_cannot_be_written_is_refused(tmp_path, out):
    with pytest.raises(BadInput, match=r"--out: .*allowed: a file that can be written"):
        check_out(tmp_path / out)


def test_one_that_can_is_not_touched(tmp_path):
    out = tmp_path / "x.html"
    check_out(out)
    assert not out.exists()
    out.write_text("old")
    check_out(out)
    assert out.read_text() == "old"


def test_an_error_of_the_system_is_one_line(monkeypatch, capsys, tmp_path):
    def fails(options, errors):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("orchestrator.commands.ui.command", fails)
    assert cli.run_command(["ui"]) == 1
    assert capsys.readouterr().err == f"ttc: [Errno 13] Permission denied: '{tmp_path}'\n"


def test_a_port_that_is_used_is_one_line_and_a_failure(tmp_path, capsys):
    import socket

    (tmp_path / "mlflow.db").touch()
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        assert cli.run_command(["ui", "--runs", str(tmp_path), "--port", str(port)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"ttc: port {port} cannot be used")
    assert err.count("\n") == 1


def test_directories_and_names_that_cannot_be_written_are_found_before_the_start(tmp_path):
    from orchestrator.config.loading import load
    from orchestrator.config.preparation import prepare
    from tests.support.paths import LAB_CONFIG

    lab = [f"runs={tmp_path}", "problems.limit=1"]
    prepare(load(LAB_CONFIG, [*lab, f"name={'n' * 234}"]))
    with pytest.raises(BadInput, match=r"name: .*allowed: 234 bytes or less"):
        prepare(load(LAB_CONFIG, [*lab, f"name={'n' * 235}"]))
    for runs in ("/proc", str(Path(tmp_path) / ("r" * 300))):
        with pytest.raises(BadInput, match=r"runs: .*a directory that can be written"):
            prepare(load(LAB_CONFIG, [*lab, f"runs={runs}"]))
    assert terminal.results() is sys.stdout, "outside a command"


def test_runs_in_the_copy_of_a_jobs_directory_are_refused_since_ray_may_remove_it(tmp_path, monkeypatch):
    from ray._private.parameter import RayParams
    from ray._private.runtime_env.working_dir import WorkingDirPlugin

    from orchestrator.config.loading import load
    from orchestrator.config.preparation import prepare
    from tests.support.paths import LAB_CONFIG

    copies = WorkingDirPlugin(str(tmp_path / RayParams().runtime_env_dir_name), None)
    copy = copies._get_directory_on_node("gcs://_ray_pkg_1a2b.zip")
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(BadInput, match=r"runs: 'runs' .*which Ray may remove; allowed: a path outside of it"):
        prepare(load(LAB_CONFIG, ["problems.limit=1"]))
    assert not list(copy.iterdir())
    prepare(load(LAB_CONFIG, ["problems.limit=1", f"runs={tmp_path}/runs"]))
