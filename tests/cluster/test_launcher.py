"""The commands of "Machines over SSH", to a finished run: Ray's own launcher, and hosts of this machine."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
import ray.util
import yaml

from tests.support.leftovers import Footprint
from tests.support.over_ssh import machines
from tests.support.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

HANGS_SECONDS = 1200
"""No command takes so long, on a slow machine that does other work meanwhile."""
WORKER = "127.0.0.2"
SENT = ("actors", "orchestrator", "configs", "cluster", "pyproject.toml")
RUN = """
base: configs/lab.yaml
name: over-ssh
problems: {limit: 4}
strategy: {n: 8}
baseline: 0
generator: {replicas: 1, engine: {kv_cache_memory_bytes: 134217728}}
verifier: {engine: {kv_cache_memory_bytes: 134217728}}
tracking: {uri: null}
"""


@pytest.fixture
def footprint() -> Iterator[Footprint]:
    footprint = Footprint()
    yield footprint
    footprint.remove()


@pytest.fixture
def around(footprint: Footprint) -> dict[str, str]:
    """The environment of the one who calls the launcher: two hosts, whose programs come first."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    programs = machines(footprint.directory, ray.util.get_node_ip_address(), WORKER)
    home = footprint.directory / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").touch()
    more = {"HOME": str(home), "PATH": f"{programs}:{own['PATH']}"}
    # `ray down` ends the head; the others end when they have missed it for so long.
    return {**own, **footprint.environment, **more, "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}


@pytest.fixture
def checkout(around: dict[str, str]) -> Path:
    """The repository, with the machines' names in the launcher's file and a run of the lab."""
    place = Path(around["HOME"]) / "checkout"
    place.mkdir()
    for name in SENT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, place)
    (place / "my.yaml").write_text(RUN)
    (place / "runs").mkdir()
    (place / "runs" / "earlier").touch()
    file = place / "cluster" / "ray-cluster.yaml"
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    launcher = yaml.safe_load(file.read_text().replace("6379", str(port)))
    launcher["provider"] |= {"head_ip": ray.util.get_node_ip_address(), "worker_ips": [WORKER]}
    launcher["auth"]["ssh_user"] = "somebody"
    launcher |= {"min_workers": 1, "max_workers": 1}
    # In place of an installation: the programs that know the hosts.
    programs = around["PATH"].partition(":")[0]
    launcher["setup_commands"][0] = f"mkdir -p ~/ttc/.venv/bin && cp {programs}/* ~/ttc/.venv/bin"
    file.write_text(yaml.safe_dump(launcher))
    return place


def test_the_readmes_commands_run_a_search_on_another_node_and_bring_its_results_back(
    footprint: Footprint, around: dict[str, str], checkout: Path
) -> None:
    head = footprint.directory / ray.util.get_node_ip_address()
    section = (ROOT / "cluster" / "README.md").read_text().partition("## Machines over SSH")[2]
    commands = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert commands is not None
    log = footprint.directory / "said"
    said = {}
    for command in commands[1].splitlines():
        # What a terminal is asked, is answered here.
        answered = re.sub(r"ray (up|down) .*", r"\g<0> --yes", command.partition("#")[0])
        with log.open("w") as file:
            done = subprocess.run(
                ["bash", "-c", answered],
                cwd=checkout,
                env=around,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=HANGS_SECONDS,
                start_new_session=True,  # an interactive shell, which Ray calls for, would take the terminal
            )
        said[answered] = log.read_text()
        assert done.returncode == 0, log.read_text()
    assert not (head / "ttc" / "runs" / "earlier").exists(), "results of other runs stay here"
    (run,) = (checkout / "runs").glob("over-ssh-*")
    assert pyarrow.parquet.read_table(run / "results.parquet").num_rows == 4
    there = head / "ttc" / "runs" / run.name
    assert (run / "journal.sqlite").read_bytes() == (there / "journal.sqlite").read_bytes()
    (ran,) = [text for command, text in said.items() if command.startswith("ray exec")]
    assert re.search(rf"generator-0 up on \S+ \({WORKER}", ran), ran
    # `ray down` ends the head; a worker ends by itself but for its log monitor. The next `ray up` stops that.
    stop = ["ssh", f"somebody@{WORKER}", "bash", "-c", "'source ~/.bashrc; ray stop'"]
    subprocess.run(stop, env=around, check=True, timeout=120)
    assert not footprint.left(time.monotonic() + 120)
