"""Machines over SSH on one machine: ``ssh`` and ``rsync`` are stand-ins, and a host is a directory.

What is called at a host runs here with that directory as its HOME, and with the host's name in the
environment. ``ray stop`` would end every Ray of this machine: a host's ``ray`` ends what has its name there.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

HOST = "TTC_HOST"
"""The environment variable with the directory of the host that a process is at."""

SSH: Final = """
import os, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    del words[: 2 if words[0] in ("-i", "-o") else 1]
home = "{root}/" + words[0].partition("@")[2]
assert os.path.isdir(home), home
# Its temporary files have a short path: sockets are among them.
around = {{**os.environ, "HOME": home, "TTC_HOST": home, "RAY_TMPDIR": {temporary}[home]}}
for name in ("RAY_AUTH_MODE", "PYTHONPATH"):
    around.pop(name, None)
os.chdir(home)
os.execvpe("bash", ["bash", "-c", " ".join(words[1:])], around)
"""

RSYNC: Final = """
import fnmatch, os, shutil, sys
words, excluded = sys.argv[1:], []
while words[0].startswith("-"):
    if words[0] == "--exclude":
        excluded.append(words[1])
    del words[: 2 if words[0] in ("--rsh", "--exclude") else 1]
def place(name):
    host, _, path = name.rpartition(":")
    if not host:
        return name
    home = "{root}/" + host.partition("@")[2]
    return os.path.join(home, path.replace("~", home, 1))
def left_out(directory, names):
    within = "/" + os.path.relpath(directory, source) + "/"
    within = within.replace("/./", "/")
    return [n for n in names if any(fnmatch.fnmatch(within + n if p[:1] == "/" else n, p) for p in excluded)]
source, target = map(place, words)
if os.path.isdir(source):
    target = target if source.endswith("/") else os.path.join(target, os.path.basename(source))
    shutil.copytree(source, target, ignore=left_out, dirs_exist_ok=True, symlinks=True)
else:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(source, target)
"""

RAY: Final = """
import os, psutil, sys
command, *options = sys.argv[1:]
here = os.environ.get("TTC_HOST")
if command == "stop":
    assert here, "ray stop would end every Ray of this machine"
    def is_here(process):
        try:
            return process.environ().get("TTC_HOST") == here
        except psutil.Error:
            return False
    callers = {{os.getpid(), *(parent.pid for parent in psutil.Process().parents())}}
    found = [each for each in psutil.process_iter() if each.pid not in callers and is_here(each)]
    for each in found:
        each.kill()
    psutil.wait_procs(found, timeout=20)
    sys.exit()
if command == "start":
    options.append("--node-ip-address=" + os.path.basename(here))
    os.environ["PYTHONPATH"] = here + "/ttc"
os.execv("{ray}", ["ray", command, *options])
"""

TTC: Final = """
import os, sys
os.execv(sys.executable, [sys.executable, "-m", "orchestrator", *sys.argv[1:]])
"""


def machines(root: Path, *names: str) -> Path:
    """Makes the hosts ``names`` (addresses of this machine) in ``root``; returns the directory with the
    programs ``ssh``, ``rsync``, ``ray`` and ``ttc`` that know them."""
    programs, homes = root / "bin", [root / name for name in names]
    temporary = {str(home): str(root / str(number)) for number, home in enumerate(homes)}
    programs.mkdir()
    ray = shutil.which("ray", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name, source in (("ssh", SSH), ("rsync", RSYNC), ("ray", RAY), ("ttc", TTC)):
        program = programs / name
        program.write_text(f"#!{sys.executable}\n{source.format(root=root, ray=ray, temporary=temporary)}")
        program.chmod(0o755)
    for home in homes:
        home.mkdir()
        Path(temporary[str(home)]).mkdir()
        (home / ".bashrc").write_text(f"export PATH={programs}:$PATH\n")
    return programs
