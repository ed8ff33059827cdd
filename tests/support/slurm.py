"""Slurm on this machine: stand-ins for its commands, for Ray and for ttc, and a job as Slurm starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import LAB_CONFIG, ROOT
from tests.support.processes import MARK

CONFIG = str(LAB_CONFIG)
SLURM = ROOT / "cluster" / "slurm.sh"
NODES = 2
JOB = str(os.getpid())
PORT = 20000 + 2 * (os.getpid() % 5000)

SRUN = """#!/bin/bash
# srun on one machine: as many tasks as nodes, each told its number. The step lasts as long as its tasks;
# SIGTERM makes it kill them, as the real one does.
printf '%s\\n' "$*" >>srun.called
while [[ "$1" == --* ]]; do shift; done
for ((node = 0; node < SLURM_NNODES; node++)); do
  SLURM_NODEID=$node "$@" &
  echo $! >>srun.tasks
done
trap 'kill -KILL $(jobs -p) 2>/dev/null' TERM
while [[ -n "$(jobs -pr)" ]]; do wait; done
"""
SCANCEL = """#!/bin/bash
# scancel --signal=TERM JOB: the tasks of its steps, and not the batch script.
[[ "$1" == --signal=TERM && "$2" == "$SLURM_JOB_ID" ]] || exit 1
kill $(<srun.tasks) 2>/dev/null
"""
SCONTROL = f"""#!/bin/bash
# scontrol tells where the script of a job is, and puts one back.
if [[ "$*" == "show job $SLURM_JOB_ID" ]]; then
  printf 'JobId=%s JobName=ttc\\n   Command={SLURM} run my.yaml\\n   WorkDir=%s\\n' "$SLURM_JOB_ID" "$PWD"
else
  echo "$*" >>scontrol.called
fi
"""
RAY = f"""#!{sys.executable}
# ray start --block: a head listens; each keeps a log, and ends at SIGTERM, or when the file crash-N is there.
# As often as the file fail-N says it dies as it starts, and then the file goes.
import os, pathlib, signal, socket, sys, time
options = dict(word.partition("=")[::2] for word in sys.argv[2:])
logs = pathlib.Path(options["--temp-dir"], "session_2026-01-01", "logs")
logs.mkdir(parents=True)
told = "GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME VLLM_HOST_IP HF_HOME HF_HUB_OFFLINE HIP_VISIBLE_DEVICES".split()
environment = " ".join(f"{{name}}={{os.environ[name]}}" for name in told if name in os.environ)
(logs / "raylet.out").write_text(" ".join(sys.argv[1:]) + "\\n" + environment)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if (fail := pathlib.Path("fail-" + os.environ["SLURM_NODEID"])).exists():
    if left := int(fail.read_text()):
        fail.write_text(str(left - 1))
        sys.exit(1)
    fail.unlink()
if "--head" in options:
    server = socket.create_server(("", int(options["--port"])))
while not os.path.exists("crash-" + os.environ["SLURM_NODEID"]):
    time.sleep(0.05)
sys.exit(1)
"""
TTC = """#!/bin/bash
# ttc: names its run, works until the file done is there, and ends in good order at SIGTERM.
echo "$*" >>ttc.called
case "$1" in
  run)
    name="lab-$(wc -l <ttc.called)" where=" in $RUNS"
    mkdir -p "$RUNS/$name"
    touch "$RUNS/$name/config.yaml"
    ;;
  resume) name="$2"; [[ "$3 $4" == "--runs $RUNS" ]] || exit 2; where="" ;;
esac
echo "run $name$where" >&2
trap 'echo "interrupted; what was computed is kept" >&2; exit 130' TERM
while [[ ! -e done ]]; do sleep 0.05; done
"""
REAL_TTC = f'#!/bin/bash\nexec {sys.executable} -m tests.support.without_engines "$@"\n'
SLURMS = {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}
STAND_INS = {**SLURMS, "ray": RAY, "ttc": TTC}


def job(cwd: Path) -> Path:
    """The directory of the job's own files."""
    return cwd / f"slurm-{JOB}"


def batch(cwd: Path, *arguments: str, tools: dict[str, str], **environment: str) -> subprocess.Popen[str]:
    """The script as Slurm starts it: a copy, in the submission's directory, with the job's environment."""
    path = cwd / "bin"
    path.mkdir(exist_ok=True)
    for name, program in tools.items():
        (path / name).write_text(program)
        (path / name).chmod(0o755)
    script = cwd / "slurm_script"
    shutil.copy(SLURM, script)
    (cwd / "srun.tasks").unlink(missing_ok=True)
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "SLURM_", "HF_", "TTC_")) and not name.endswith("_VISIBLE_DEVICES")
    }
    slurm = {"SLURM_JOB_ID": JOB, "SLURM_NNODES": str(NODES), "SLURM_CPUS_PER_TASK": "1"}
    paths = os.pathsep.join([str(path), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        ["bash", str(script), *arguments],
        cwd=cwd,
        env={**outside, **slurm, "PATH": paths, "PYTHONPATH": str(ROOT), MARK: str(cwd), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
