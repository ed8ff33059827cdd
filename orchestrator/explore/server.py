"""Serves the page of a run that goes on: on loopback, to browsers of this machine alone.

A browser is told what is new by server-sent events, and asks for a search as somebody looks at it. While
nobody looks, nothing is read. A reader that is slow gets what is new since its last event, however much that
is, so nothing is kept for it and nobody waits for it.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

from orchestrator.durability.journal import JournalDamaged
from orchestrator.errors import in_one_line
from orchestrator.explore.live import LiveRun
from orchestrator.explore.page import live_page

PERIOD_SECONDS = 1.0
"""Seconds between two looks at a run, at least."""
LEAST_REST = 9
"""A look is followed by a rest of so many times its own time: looking takes a tenth of one core at most."""
HEARTBEAT_SECONDS = 5.0
"""Seconds after which a reader that waits is sent a comment: so it is known whether it is still there."""
SLOW_SECONDS = 20.0
"""Seconds that a reader may take for what it is sent."""
IDLE_SECONDS = 5.0
"""Seconds in which a connection has to ask for something."""
MOST_READERS = 64
MOST_CONNECTIONS = 2 * MOST_READERS
"""The most connections at once, each of which has a thread; one more is closed as it comes."""
GRACE_SECONDS = 5.0
"""Seconds that readers have, at most, to fetch the finished page before the server ends."""
NAMES = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d+)?")
"""What a browser of this machine calls this server. Another name in its place would be one that somebody else
has pointed here, to read what the page reads (DNS rebinding)."""


EVENT = re.compile(r"(.*) ([0-9]{1,18}) [0-9]{1,18}", re.DOTALL)
"""The name of an event: a run, its version, and how often the start of engines was told of."""


class Begun(NamedTuple):
    """A run that begins."""

    run: str
    budget: int | None
    """FLOPs."""
    at: float
    """Seconds since 1970."""


class Feed:
    """The runs that are shown, and those who wait for news of them.

    The first run at work is shown, then the next: the cells of a sweep follow each other.
    """

    def __init__(self, open_run: Callable[[Begun], LiveRun]) -> None:
        """``open_run`` raises JournalDamaged while the run's journal is not there yet."""
        self.over: str | None = None
        """``finished`` once the run's pages are written, ``gone`` where it has ended without them."""
        self.owed = 0
        """How many readers have not fetched their finished page."""
        self._open_run = open_run
        self._begun: dict[str, Begun] = {}
        self._runs: dict[str, LiveRun] = {}
        self._faults: dict[str, str] = {}
        self._start: tuple[str, ...] = ()
        """While engines start: how many are up, and what the others do."""
        self._told = 0
        """How often that was told."""
        self._readers: Counter[str] = Counter()
        """By the run that they ask for; an empty name is that which is at work."""
        self._changed = threading.Condition()

    @property
    def names(self) -> list[str]:
        """The runs that have begun, the one at work at the end."""
        return [*self._begun]

    def begin(self, begun: Begun) -> None:
        """Shows another run from now on."""
        with self._changed:
            self._begun.pop(begun.run, None)
            self._begun[begun.run] = begun
            self._changed.notify_all()

    def starting(self, lines: Iterable[str]) -> None:
        """Shows from now on how far the start of the engines is; nothing once they are up."""
        with self._changed:
            self._start = tuple(lines)
            self._told += 1
            self._changed.notify_all()

    def end(self, over: str) -> None:
        """Tells all readers that there is no more news."""
        with self._changed:
            self.owed = self._readers.total()
            self.over = over
            self._changed.notify_all()

    def fetched(self) -> None:
        """Notes that a reader has its finished page."""
        with self._changed:
            self.owed -= 1
            self._changed.notify_all()

    def wait_for_readers(self, within: float) -> None:
        """Returns once all readers have their finished page, or ``within`` so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.owed <= 0, within)

    def run(self, name: str) -> LiveRun | None:
        """Returns a run that is shown."""
        return self._runs.get(name)

    @contextmanager
    def reading(self, run: str) -> Iterator[None]:
        """Counts a reader of this run, or of that at work where it names none."""
        with self._changed:
            self._readers[run] += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._readers[run] -= 1

    def news(self, run: str, seen: str, within: float) -> tuple[str, bytes] | None:
        """Returns what is new for a reader that has ``seen`` an event: the next event and its data; None
        where nothing is new ``within`` so many seconds, or all is over."""
        name = ""

        def new() -> bool:
            nonlocal name
            name = run or next(reversed(self._begun), "")
            known = name in self._runs or name in self._faults or self._told > 0
            return self.over is not None or (known and seen != self._event(name))

        with self._changed:
            if not self._changed.wait_for(new, within) or self.over is not None:
                return None
            live, event = self._runs.get(name), self._event(name)
            fault, start = self._faults.get(name), self._start
        data: dict[str, Any] = {"run": name, "runs": self.names, "fault": fault, "start": start}
        (of_run, _), before = _parted(event), _parted(seen)
        since = before[1] if before[0] == of_run else 0
        if live is not None:
            news = live.since(since)
            data["news"], event = news, f"{of_run} {news.version} {event.rpartition(' ')[2]}"
        return event, msgspec.json.encode(data | {"whole": since == 0})

    def _event(self, name: str) -> str:
        """The name of the event that tells of a run as it is now."""
        begun, live = self._begun.get(name), self._runs.get(name)
        fault = " and its fault" if name in self._faults else ""
        version = 0 if live is None else live.version
        return f"{'' if begun is None else begun.at}{fault} {version} {self._told}"

    def refresh_for_ever(self) -> None:
        """Looks at the runs that somebody reads, again and again, until all is over."""
        while self.over is None:
            with self._changed:
                self._changed.wait_for(lambda: self.over is not None or self._watched())
                watched = self._watched()
            began = time.monotonic()
            changed = [name for name in watched if self._refresh(name)]
            if changed:
                with self._changed:
                    self._changed.notify_all()
            rest = max(PERIOD_SECONDS, LEAST_REST * (time.monotonic() - began))
            with self._changed:
                self._changed.wait_for(lambda: self.over is not None, rest)

    def _watched(self) -> list[str]:
        asked = [name for name, readers in self._readers.items() if readers]
        names = {name or next(reversed(self._begun), "") for name in asked}
        return [name for name in names if name in self._begun]

    def _refresh(self, name: str) -> bool:
        """Looks at a run. Returns True where there is anything new; what has failed once is given up."""
        if name in self._faults:
            return False
        try:
            if name not in self._runs:
                try:
                    live = self._open_run(self._begun[name])
                except JournalDamaged:  # it is not there yet
                    return False
                live.refresh()
                self._runs[name] = live
                return True
            return self._runs[name].refresh()
        except Exception as error:
            traceback.print_exc()
            self._faults[name] = in_one_line(error)
            return True


def _parted(event: str) -> tuple[str, int]:
    """The run that an event tells of, and its version."""
    parts = EVENT.fullmatch(event)
    return ("", 0) if parts is None else (parts[1], int(parts[2]))


class LiveServer(ThreadingHTTPServer):
    """Answers browsers, each in a thread of its own."""

    daemon_threads = True

    def __init__(self, listening: socket, feed: Feed, runs: Path, page: str) -> None:
        """Serves on a socket that listens already. ``runs`` is the directory of the runs; ``page`` is the
        name of a run's finished page."""
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.feed = feed
        self.runs = runs
        self.page = page
        self.places = threading.BoundedSemaphore(MOST_READERS)
        self.connections = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Gives a connection a thread, where there is one left."""
        if self.connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers a connection, and gives its thread back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says what went wrong, unless a reader is only gone, or too slow."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    timeout = IDLE_SECONDS
    server_version, sys_version = "ttc", ""

    def do_GET(self) -> None:
        self.connection.settimeout(SLOW_SECONDS)
        if NAMES.fullmatch(self.headers.get("Host", "")) is None:
            return self._refuse(HTTPStatus.FORBIDDEN, "allowed: this server as 127.0.0.1 or localhost")
        try:
            asked = urlsplit(self.path)
        except ValueError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, f"this is no address: {error}")
        query = dict(parse_qsl(asked.query))
        answers = {"/": self._page, "/events": self._events, "/tree": self._tree}
        if (answer := answers.get(asked.path)) is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        # A page of elsewhere may lead here, and may not read.
        if asked.path != "/" and self.headers.get("Sec-Fetch-Site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return self._refuse(HTTPStatus.FORBIDDEN, "allowed: this server's own page")
        if not self.server.places.acquire(blocking=False):
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_READERS} readers are here already")
        try:
            answer(query)
        finally:
            self.server.places.release()

    def _page(self, query: dict[str, str]) -> None:
        feed = self.server.feed
        names = feed.names
        if feed.over == "finished" and names:
            name = query.get("run", "") if query.get("run") in names else names[-1]
            try:
                content = (self.server.runs / name / self.server.page).read_bytes()
            except OSError as error:
                return self._refuse(HTTPStatus.NOT_FOUND, f"the page of {name} cannot be read: {error}")
            self._send("text/html; charset=utf-8", content)
            return feed.fetched()
        self._send("text/html; charset=utf-8", live_page(names[-1] if names else "ttc").encode())

    def _tree(self, query: dict[str, str]) -> None:
        run = self.server.feed.run(query.get("run", ""))
        tree = None if run is None else run.tree(query.get("problem", ""))
        if tree is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such search")
        self._send("application/json", msgspec.json.encode(tree))

    def _events(self, query: dict[str, str]) -> None:
        feed, run = self.server.feed, query.get("run", "")
        if run and run not in feed.names:
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such run")
        seen = self.headers.get("Last-Event-ID") or query.get("since", "")
        self._head("text/event-stream")
        with feed.reading(run):
            while feed.over is None:
                news = feed.news(run, seen, HEARTBEAT_SECONDS)
                if news is None:
                    self.wfile.write(b": still here\n\n")
                else:
                    seen, data = news
                    self.wfile.write(b"id: %b\ndata: %b\n\n" % (seen.encode(), data))
            self.wfile.write(b"event: %b\ndata: {}\n\n" % feed.over.encode())

    def _send(self, kind: str, content: bytes) -> None:
        self._head(kind, len(content))
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        content = f"{why}\n".encode()
        self._head("text/plain; charset=utf-8", len(content), status)
        self.wfile.write(content)

    def _head(self, kind: str, length: int | None = None, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing of each request."""
