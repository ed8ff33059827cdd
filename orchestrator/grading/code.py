"""The checker ``code``: a program that passes given test cases, run in a bounded process without network.

The truth is JSON: ``{"function": "name", "cases": [[[arguments], expected], …]}``, or a list of assert
statements. The answer is the last fenced block of code.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from orchestrator.errors import at_least

_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)```", re.DOTALL)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PASSED = "every case passed"
"""The last line of a run whose cases all passed, with a token that the program cannot know."""


@dataclass(frozen=True)
class Code:
    """Runs the answer's function against all cases of the truth."""

    seconds: float = 5.0
    """Seconds for all cases of an answer together."""
    memory: float = 512.0
    """MiB of memory."""
    slow = True

    def __post_init__(self) -> None:
        at_least("problems.answers.seconds", self.seconds, 0.1)
        at_least("problems.answers.memory", self.memory, 64)

    def check_truth(self, truth: str) -> None:
        """Raises ValueError for an answer that is no test cases."""
        tests(truth)

    def extract(self, text: str) -> str | None:
        blocks = [
            body for name, body in _FENCE.findall(text) if name.lower() in ("", "python", "py", "python3")
        ]
        return blocks[-1].strip() or None if blocks else None

    def key(self, answer: str) -> str:
        return "\n".join(line.rstrip() for line in answer.strip().splitlines() if line.strip())

    def accepts(self, truth: str, answer: str) -> bool:
        """Raises ValueError where the truth is no test."""
        token = os.urandom(16).hex()
        call = f"_limit({self.seconds!r}, {self.memory!r})\n_check({answer!r}, {tests(truth)!r}, {token!r})"
        with tempfile.TemporaryDirectory(prefix="ttc-code-") as directory:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-"],  # not as an argument: a program sees its arguments
                    cwd=directory,
                    env={**ENVIRONMENT, "HOME": directory, "TMPDIR": directory},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise RuntimeError(f"no process for the answer's code: {error}") from error
            try:
                out, _ = process.communicate(f"{GUARD}\n{call}\n".encode(), self.seconds + 1.0)
            except subprocess.TimeoutExpired:
                return False
            finally:
                _end(process)
        return out.decode(errors="replace").rstrip().endswith(f"{token} {PASSED}")


def tests(truth: str) -> str:
    """Returns the statements that test an answer. Raises ValueError that says what is wrong with a truth."""
    try:
        given = json.loads(truth)
    except ValueError as error:
        raise ValueError(f"the truth is no JSON of test cases ({error})") from error
    if isinstance(given, list) and given and all(isinstance(line, str) for line in given):
        return "\n".join(given)
    function, cases = (given.get("function"), given.get("cases")) if isinstance(given, dict) else (None, None)
    if (
        not isinstance(function, str)
        or not function.isidentifier()
        or not isinstance(cases, list)
        or not cases
    ):
        raise ValueError(
            'the truth needs {"function": name, "cases": [[[arguments], expected], …]} or asserts'
        )
    lines = []
    for case in cases:
        if not isinstance(case, list) or len(case) != 2 or not isinstance(case[0], list):
            raise ValueError(f"a test case is {str(case)[:60]}; needed: [[arguments], expected]")
        lines.append(f"assert _same({function}(*{case[0]!r}), {case[1]!r})")
    return "\n".join(lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


GUARD = '''
import sys

def _limit(seconds, memory):
    """Bounds the process; where the kernel gives it a network of its own it has none, else none by Python."""
    import ctypes, os, resource
    whole = int(seconds) + 1
    for what, most in (
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_AS, int(memory * 2**20)),
        (resource.RLIMIT_FSIZE, 2**20),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):
            pass
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
        # Where neither is allowed, the hook below still refuses sockets.
        libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    except (OSError, AttributeError):
        pass
    here = os.path.realpath(os.getcwd())
    roots = tuple(os.path.realpath(p) for p in {sys.prefix, sys.base_prefix, sys.exec_prefix} if p)
    refused = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
               "os.kill", "ctypes.", "pty.", "shutil.rmtree", "os.chmod", "os.chown", "os.putenv")

    def hook(event, arguments):
        if event.startswith(refused):
            raise PermissionError(event + " is not allowed here")
        if event in ("open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
                     "os.truncate", "os.listdir", "os.scandir"):
            name = arguments[0] if arguments else None
            if isinstance(name, int) or name is None:
                return
            path = os.path.realpath(os.fsdecode(name))
            writes = event not in ("open", "os.listdir", "os.scandir") or (
                event == "open" and (
                    (isinstance(arguments[1], str) and any(c in arguments[1] for c in "wax+"))
                    or (arguments[1] is None and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))))
            if path == here or path.startswith(here + os.sep):
                return
            if writes or not path.startswith(tuple(root + os.sep for root in roots)) and path not in roots:
                raise PermissionError(event + " of " + path + " is not allowed here")

    sys.setrecursionlimit(10_000)
    sys.addaudithook(hook)


def _same(given, expected):
    """Equal, where JSON has lists for tuples; a float may be off by rounding."""
    if isinstance(given, tuple):
        given = list(given)
    if isinstance(expected, float) or isinstance(given, float):
        try:
            return abs(given - expected) <= 1e-9 * max(1.0, abs(expected))
        except TypeError:
            return False
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(_same, given, expected))
    if isinstance(given, dict) and isinstance(expected, dict):
        return {str(k) for k in given} == {str(k) for k in expected} and all(
            _same(value, {str(k): v for k, v in expected.items()}[str(key)]) for key, value in given.items())
    return type(given) is type(expected) and given == expected


def _check(answer, tests, token):
    import os
    write, same = os.write, _same
    space = {"__name__": "answer", "_same": same}
    exec(compile(answer, "answer", "exec"), space)
    space["_same"] = same
    exec(compile(tests, "tests", "exec"), space)
    sys.stdout.flush()
    write(1, ("\\n" + token + " every case passed\\n").encode())
    os._exit(0)
'''
"""What the process runs first: limits of the kernel, no network, no processes, no files but its own."""
