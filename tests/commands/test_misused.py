"""A command line that a command does not take, or that names what is not there: one line, exit status 2."""

from __future__ import annotations

import json
import socket

import pytest

from orchestrator.commands.cli import run_command
from tests.support.paths import CONFIGS
from tests.support.refused import refused

pytestmark = pytest.mark.usefixtures("nothing_starts")

LAB_CONFIG = str(CONFIGS / "lab.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "ttc run: CONFIG is missing; for example: ttc run configs/lab.yaml budget.flops=1e11"),
        (["sweep"], "ttc sweep: CONFIG is missing; for example: ttc sweep configs/lab-sweep.yaml"),
        (["check"], "ttc check: CONFIG is missing; for example: ttc check configs/lab.yaml"),
        (["resume"], "ttc resume: RUN_ID is missing; for example: ttc resume lab-"),
        (["report"], "ttc report: EXPERIMENT is missing; for example: ttc report lab"),
        (["verifier", "label"], "ttc verifier label: CONFIG and OUT are missing; for example: "),
        (
            ["run", LAB_CONFIG, "--jsn"],
            "ttc run: unrecognized arguments: --jsn; did you mean --json? allowed: ",
        ),
        (
            ["--explore", "run", LAB_CONFIG],
            "ttc run: unrecognized arguments: --explore; an option stands after its command, as in",
        ),
        (
            ["run", LAB_CONFIG, "--strategy.n=4"],
            "ttc run: unrecognized arguments: --strategy.n=4; a key of the configuration is given as",
        ),
        (
            ["run", LAB_CONFIG, "--runs", "x"],
            "ttc run: unrecognized arguments: --runs x; a key of the config",
        ),
        (
            ["run", LAB_CONFIG, "--budget.flops=1e9"],
            "ttc run: unrecognized arguments: --budget.flops=1e9; a key",
        ),
        (["report", "a", "b"], "ttc report: unrecognized arguments: b; for example: ttc report lab"),
        (["rnu", LAB_CONFIG], "ttc: unknown command 'rnu'; did you mean run? allowed: check, run, sweep"),
    ],
)
def test_what_a_command_line_lacks_is_one_line_with_an_example(capsys, arguments, said):
    assert refused(capsys, *arguments).startswith(said)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", LAB_CONFIG, "seed=x"],
        ["check", LAB_CONFIG, "seed=x"],
        ["check", LAB_CONFIG, "strategy.n=0"],
        ["sweep", LAB_CONFIG],
        ["resume", "ghost"],
        ["regrade", "ghost"],
        ["fit", "nothing/here"],
        ["verifier", "label", LAB_CONFIG, "/proc/x/y"],
    ],
)
def test_a_program_is_told_of_bad_input_too(capsys, arguments):
    assert run_command([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["error"] == err.splitlines()[0].removeprefix("ttc: ")
    assert "resume" not in told


def test_a_program_is_told_of_an_interrupt_and_of_a_fault_of_our_own(capsys, monkeypatch):
    def fails(error):
        def load(*arguments):
            raise error

        monkeypatch.setattr("orchestrator.commands.run.load", load)

    fails(KeyboardInterrupt())
    assert run_command(["run", LAB_CONFIG, "--json"]) == 130
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"error": "interrupted"}, "interrupted\n")
    fails(RuntimeError("no"))
    with pytest.raises(RuntimeError):
        run_command(["run", LAB_CONFIG, "--json"])
    assert json.loads(capsys.readouterr().out)["error"].startswith("RuntimeError: no (")
    fails(OSError("disk"))
    assert run_command(["run", LAB_CONFIG]) == 1
    assert capsys.readouterr().out == "", "nothing for who reads no JSON"


def test_resuming_a_run_that_does_not_exist(capsys, tmp_path):
    assert "ttc: run_id: 'ghost'" in refused(capsys, "resume", "ghost", "--runs", str(tmp_path))


@pytest.mark.parametrize("run_id", ["..", "/", "", ".", "../runs/lab", "lab/../../other", "ghost"])
@pytest.mark.parametrize("verb", ["resume", "regrade", "replay"])
def test_what_is_elsewhere_is_no_run_of_the_directory(capsys, tmp_path, monkeypatch, verb, run_id):
    for directory in ("runs/lab", "other", "."):
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
        (tmp_path / directory / "config.yaml").write_text(f"base: {LAB_CONFIG}\n")
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, verb, run_id).startswith(f"ttc: run_id: {run_id!r} is not usable; allowed: a run")


def test_a_spool_that_is_no_file_is_not_replayed(capsys, tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "tracking.jsonl").symlink_to("/dev/zero")
    assert run_command(["replay", "lab", "--runs", str(tmp_path)]) == 0
    assert "nothing waits" in capsys.readouterr().err


def test_the_ui_without_a_store(capsys, tmp_path):
    assert "start a run first" in refused(capsys, "ui", "--runs", str(tmp_path))


def test_a_port_that_is_none_is_bad_input_and_one_in_use_a_failure(capsys, tmp_path):
    (tmp_path / "mlflow.db").touch()
    store = ["ui", "--runs", str(tmp_path)]
    assert "--port: 99999 is not usable; allowed: 1 to 65535" in refused(capsys, *store, "--port", "99999")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        assert run_command([*store, "--port", str(port)]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err
