"""What a process of ``sandbox`` runs first: its limits, and how values cross from a program to its tests.

It is the beginning of that process's script, so it imports nothing of this project.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import ctypes
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any


def limit(seconds: float, memory: float) -> int:
    """Bounds the process, and returns the descriptor of what was its standard output.

    ``memory`` is in MiB. Where the kernel gives the process a network of its own it has none, else none by
    Python.
    """
    out = os.dup(1)  # what is printed goes nowhere, and the script is not read again
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
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        new_user, new_network = 0x10000000, 0x40000000
        # Where neither is allowed, the hook below still refuses sockets.
        if libc.unshare(new_network):
            libc.unshare(new_user | new_network)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    except (OSError, AttributeError):
        pass
    for module in (os, sys.modules["posix"]):
        for name in SILENT:
            if hasattr(module, name):
                delattr(module, name)
    sys.setrecursionlimit(10_000)
    sys.addaudithook(_hook())
    return out


SILENT = ("mkfifo", "mknod", "setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam")
"""Functions of ``os`` that tell no hook."""
REFUSED = (
    *("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill"),
    *("ctypes.", "pty.", "shutil.rmtree", "os.chmod", "os.chown", "os.putenv", "os.link", "os.symlink"),
    *("os.utime", "os.chflags", "os.setxattr", "sqlite3.", "signal.pthread_kill", "resource.prlimit"),
    *("resource.setrlimit", "os.chdir", "os.fchdir"),
)
"""Beginnings of the events that are refused."""
OF_FILES = (
    *("open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate"),
    *("os.listdir", "os.scandir"),
)
"""Events that are allowed in the process's own directory, and in Python's where they only read."""


def _hook() -> Callable[[str, tuple[Any, ...]], None]:
    here = os.path.realpath(os.getcwd())
    roots = tuple(os.path.realpath(p) for p in {sys.prefix, sys.base_prefix, sys.exec_prefix} if p)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(REFUSED):
            raise PermissionError(event + " is not allowed here")
        if event not in OF_FILES:
            return
        if any(isinstance(at, int) and at >= 0 for at in arguments[{"os.mkdir": 2}.get(event, 1) :]) and (
            event in ("os.remove", "os.rmdir", "os.mkdir", "os.rename")
        ):
            raise PermissionError(event + " beside a directory that is open is not allowed here")
        name = arguments[0] if arguments else None
        if isinstance(name, int) or name is None:
            return
        if event == "os.rename" and not os.path.realpath(os.fsdecode(arguments[1])).startswith(here + os.sep):
            raise PermissionError(event + " to another directory is not allowed here")
        path = os.path.realpath(os.fsdecode(name))
        writes = event not in ("open", "os.listdir", "os.scandir") or (
            event == "open"
            and (
                (isinstance(arguments[1], str) and any(c in arguments[1] for c in "wax+"))
                or (arguments[1] is None and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
            )
        )
        if path == here or path.startswith(here + os.sep):
            return
        if writes or (not path.startswith(tuple(root + os.sep for root in roots)) and path not in roots):
            raise PermissionError(event + " of " + path + " is not allowed here")

    return hook


def results(out: int, program: str, function: str, arguments: str) -> None:
    """Writes as JSON what the program's function returns for each of the arguments, and ends the process."""
    write, dump, load, end = _write, json.dumps, json.loads, os._exit
    space = _run(program)
    write(out, dump([space[function](*given) for given in load(arguments)]))
    end(0)


def serve(program: str, asks: int, says: int) -> None:
    """Runs a program, then does with its values what another process asks for (``check``)."""
    space = _run(program)
    kept: list[Any] = []

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    for line in os.fdopen(asks, "rb"):
        how, *rest = unpacked(json.loads(line), kept.__getitem__)
        given: tuple[Any, ...] = ()
        raised = None
        try:
            if how == "name":
                found = space[rest[0]]
            elif how == "call":
                of, given, named = rest
                found = of(*given, **named)
            else:
                found = DO[how](*rest)
        except BaseException as error:
            raised, found = type(error).__name__, str(error)
        _write(says, json.dumps(packed((raised, found, given), keep)) + "\n")


DO: dict[str, Callable[..., Any]] = {
    "attribute": getattr,
    "item": lambda of, key: of[key],
    "iterate": list,
    "length": len,
    "truth": bool,
}
"""What may be asked for of a value that stays with its program. None of it compares: the program would."""


def check(out: int, tests: str, asks: int, says: int, verdict: str) -> None:
    """Runs the statements that test a program in another process, writes ``verdict`` where all of them hold,
    and ends the process."""
    program = Program(asks, says)
    exec(compile(tests, "tests", "exec"), {"__name__": "tests", **program.names(tests)})
    _write(out, verdict)
    os._exit(0)


class Program:
    """A program in another process."""

    def __init__(self, asks: int, says: int) -> None:
        self._asks, self._says = asks, os.fdopen(says, "rb")

    def ask(self, *what: Any) -> Any:
        """Returns a copy of what the program has, or a ``Remote`` of what has none. Raises what it raises."""
        _write(self._asks, json.dumps(packed(what, _index_of)) + "\n")
        raised, found, given = unpacked(json.loads(self._says.readline()), lambda at: Remote(self, at))
        for mine, its in zip(what[2] if what[0] == "call" else (), given, strict=True):
            _become(mine, its)
        if raised is None:
            return found
        kind = getattr(builtins, raised, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind not in ENDS:
            raise kind(found)
        raise RuntimeError(f"{raised}: {found}")

    def names(self, tests: str) -> dict[str, Any]:
        """Returns the values of the names that tests use and do not define: of modules, else the program's.

        What is built into Python is the program's only where the tests use no other name: a program that
        has an ``abs`` of its own must not judge itself by it.
        """
        nodes = list(ast.walk(ast.parse(tests)))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        own = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
        defining = [node for node in nodes if not isinstance(node, ast.keyword)]
        own |= {str(getattr(node, key, None)) for node in defining for key in ("name", "arg", "asname")}
        used = {node.id for node in names} - own
        called = {node.func.id for node in nodes if isinstance(node, ast.Call) and node.func in names}
        modules = (used - called) & sys.stdlib_module_names
        of_python = used & set(dir(builtins))
        found = {name: __import__(name) for name in modules}
        for name in sorted(used - modules - of_python or of_python):
            try:
                found[name] = self.ask("name", name)
            except KeyError:
                continue  # the program has none
        return found


ENDS = (StopIteration, StopAsyncIteration)
"""Exceptions that would end a loop of the tests as though all were done."""


class Remote:
    """A value that stays with its program, such as a function or an object of a class of its own."""

    def __init__(self, program: Program, index: int) -> None:
        self._program, self._index = program, index

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._program.ask("call", self, given, named)

    def __getattr__(self, name: str) -> Any:
        return self._program.ask("attribute", self, name)

    def __getitem__(self, key: Any) -> Any:
        return self._program.ask("item", self, key)

    def __iter__(self) -> Any:
        return iter(self._program.ask("iterate", self))

    def __len__(self) -> int:
        return int(self._program.ask("length", self))

    def __bool__(self) -> bool:
        return bool(self._program.ask("truth", self))


def packed(value: Any, keep: Callable[[Any], int]) -> Any:
    """Returns a value as JSON holds it; what is no plain value is the number that ``keep`` gives it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [packed(item, keep) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[packed(key, keep), packed(item, keep)] for key, item in value.items()]}
    return {"object": keep(value)}


def unpacked(value: Any, object_of: Callable[[int], Any]) -> Any:
    """Returns the value that ``packed`` made JSON of."""
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "object":
        return object_of(held)
    if kind == "complex":
        return complex(*held)
    if kind == "bytes":
        return bytes.fromhex(held)
    if kind == "dict":
        return {unpacked(key, object_of): unpacked(item, object_of) for key, item in held}
    make: Any = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind]
    return make(unpacked(item, object_of) for item in held)


def _index_of(value: Any) -> int:
    if not isinstance(value, Remote):
        raise TypeError(f"{type(value).__name__} cannot be given to a program")
    return value._index


def _become(mine: Any, its: Any) -> None:
    """Does to an argument what the program did to its copy."""
    if isinstance(mine, list) and mine != its:
        mine[:] = its
    elif isinstance(mine, dict | set) and mine != its:
        mine.clear()
        mine.update(its)


def _run(program: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "answer"}
    exec(compile(program, "answer", "exec"), space)
    return space


def _write(to: int, text: str, write: Callable[[int, bytes], int] = os.write) -> None:
    left = text.encode()
    while left:
        left = left[write(to, left) :]
