"""The checker ``code``: a program that passes given test cases, run in a bounded process without network.

The truth is JSON: ``{"function": "name", "cases": [[[arguments], expected], …]}``, or a list of assert
statements. The answer is the last fenced block of Python.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import at_least

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
OUTPUT = 2**24
"""Bytes of results that are read of a program: one that writes more is wrong."""
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
        blocks = [(name.lower(), body.strip()) for name, body in _FENCE.findall(text)]
        tagged = [body for name, body in blocks if name in ("python", "py", "python3")]
        # A block without a name beside one that has it is what the program prints.
        found = tagged or [body for name, body in blocks if not name]
        return found[-1] or None if found else None

    def key(self, answer: str) -> str:
        return "\n".join(line.rstrip() for line in answer.strip().splitlines() if line.strip())

    def accepts(self, truth: str, answer: str) -> bool:
        """Raises ValueError where the truth is no test."""
        wanted = tests(truth)
        limits = f"_limit({self.seconds!r}, {self.memory!r})"
        if isinstance(wanted, str):
            token = os.urandom(16).hex()
            out = self._run(f"{limits}\n_check({answer!r}, {wanted!r}, {token!r})")
            return out.rstrip().endswith(f"{token} {PASSED}")
        # What is right is never in the program's process, which only gives results.
        arguments = json.dumps([given for given, _ in wanted.cases])
        out = self._run(f"{limits}\n_results({answer!r}, {wanted.function!r}, {arguments!r})")
        try:
            results = json.loads(out)
        except (ValueError, RecursionError):
            return False
        if not isinstance(results, list) or len(results) != len(wanted.cases):
            return False
        return all(_same(result, right) for result, (_, right) in zip(results, wanted.cases, strict=True))

    def _run(self, call: str) -> str:
        """Runs a call behind the guard, and returns what it writes; nothing where it takes too long."""
        with tempfile.TemporaryDirectory(prefix="ttc-code-") as directory, tempfile.TemporaryFile() as script:
            script.write(f"{GUARD}\n{call}\n".encode())
            script.seek(0)
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-"],  # not as an argument: a program sees its arguments
                    cwd=directory,
                    env={**ENVIRONMENT, "HOME": directory, "TMPDIR": directory},
                    stdin=script,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise RuntimeError(f"no process for the answer's code: {error}") from error
            try:
                return _output(process, self.seconds + 1.0).decode(errors="replace")
            finally:
                _end(process)


@dataclass(frozen=True)
class Cases:
    """A function's name, and arguments with what it returns for them."""

    function: str
    cases: tuple[tuple[list[Any], Any], ...]


def _output(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """What a process writes until it ends; nothing where that takes longer or is more than ``OUTPUT``."""
    assert process.stdout is not None
    out, deadline = bytearray(), time.monotonic() + seconds
    while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(process.stdout.fileno(), 1 << 16)
        if not piece:
            return bytes(out)
        out += piece
        if len(out) > OUTPUT:
            break
    return b""


def _same(given: Any, expected: Any) -> bool:
    """Tells whether two values of JSON are equal; a float may be off by rounding."""
    if isinstance(expected, float) or isinstance(given, float):
        if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (given, expected)):
            return False
        return bool(given == expected or abs(given - expected) <= 1e-9 * max(1.0, abs(expected)))
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(_same, given, expected))
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(_same(given[key], expected[key]) for key in given)
    return type(given) is type(expected) and bool(given == expected)


def tests(truth: str) -> Cases | str:
    """Returns the cases, or the statements, that test an answer. Raises ValueError that says what is wrong
    with a truth."""
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
    for case in cases:
        if not isinstance(case, list) or len(case) != 2 or not isinstance(case[0], list):
            raise ValueError(f"a test case is {str(case)[:60]}; needed: [[arguments], expected]")
    return Cases(function, tuple((arguments, expected) for arguments, expected in cases))


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
    global _out
    _out = os.dup(1)  # what is printed goes nowhere, and the script is not read again
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
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
               "os.kill", "ctypes.", "pty.", "shutil.rmtree", "os.chmod", "os.chown", "os.putenv",
               "os.link", "os.symlink", "os.utime", "os.chflags", "os.setxattr", "sqlite3.",
               "signal.pthread_kill", "resource.prlimit", "resource.setrlimit", "os.chdir", "os.fchdir")
    for module in (os, sys.modules["posix"]):
        for name in (
            "mkfifo", "mknod", "setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam"
        ):
            if hasattr(module, name):  # they tell no hook
                delattr(module, name)

    def hook(event, arguments):
        if event.startswith(refused):
            raise PermissionError(event + " is not allowed here")
        if event in ("open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate",
                     "os.listdir", "os.scandir"):
            if any(isinstance(at, int) and at >= 0 for at in arguments[{"os.mkdir": 2}.get(event, 1):]) and (
                    event in ("os.remove", "os.rmdir", "os.mkdir", "os.rename")):
                raise PermissionError(event + " beside a directory that is open is not allowed here")
            name = arguments[0] if arguments else None
            if isinstance(name, int) or name is None:
                return
            if event == "os.rename" and not os.path.realpath(
                    os.fsdecode(arguments[1])).startswith(here + os.sep):
                raise PermissionError(event + " to another directory is not allowed here")
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


def _results(answer, function, arguments):
    """Writes as JSON what the answer's function returns for each of the arguments."""
    import json, os
    write, dump, load, out = os.write, json.dumps, json.loads, _out
    space = {"__name__": "answer"}
    exec(compile(answer, "answer", "exec"), space)
    text = dump([space[function](*given) for given in load(arguments)]).encode()
    while text:
        text = text[write(out, text):]
    os._exit(0)


def _check(answer, tests, token):
    import os
    write, out = os.write, _out
    space = {"__name__": "answer"}
    exec(compile(answer, "answer", "exec"), space)
    exec(compile(tests, "tests", "exec"), space)
    write(out, ("\\n" + token + " every case passed\\n").encode())
    os._exit(0)
'''
"""What the process runs first: limits of the kernel, no network, no processes, no files but its own."""
