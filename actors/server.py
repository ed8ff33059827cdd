"""Calls to a server over HTTP: with a key, within a time, and again while the server cannot answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

CONNECT_SECONDS = 8.0
"""The time that a connection may take to be made."""
FIRST_WAIT = 0.5
"""Seconds before a call is made again for the first time; they double each time."""
LONGEST_WAIT = 30.0
"""Seconds between two calls at most, unless the server asks for more."""
QUIET_SECONDS = 5.0
"""So long a server may be away before anything is said of it."""
BASE = "is it the base URL, such as http://host:8000/v1?"
AWAY = (429, 502, 503, 504)
"""Statuses with which a server says that it cannot serve now."""
AGAIN = (408, 500, 520, 522, 524, 529, *AWAY)
"""Statuses after which the same call may succeed."""


@dataclass(frozen=True)
class Secret:
    """A key, which no message and no log shows."""

    value: str = field(repr=False)


class ServerRefused(Exception):
    """The server's answer is that it does not do this; the message is its own, in one line.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class GaveUp(Exception):
    """One call failed again and again while the server answered others."""


class ServerLost(RuntimeError):
    """Raised when the server has answered nothing for too long."""


Read = Callable[[aiohttp.ClientResponse], Awaitable[Any]]
"""Reads the answer of a response."""


async def read_json(response: aiohttp.ClientResponse) -> Any:
    """Returns the JSON of a whole response. Raises json.JSONDecodeError."""
    return parsed(await response.read())


def parsed(data: bytes) -> Any:
    """Returns what JSON says. Raises json.JSONDecodeError for all that cannot be read: also where it is no
    UTF-8, is nested too deeply, or holds a number of thousands of digits."""
    try:
        return json.loads(data)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(str(error), data[:80].decode(errors="replace"), 0) from error


class Server:
    """A server under a base URL. Use it in one event loop, and close it at the end."""

    def __init__(
        self,
        url: str,
        *,
        key: Secret | None = None,
        timeout: float = 600.0,
        retries: int = 5,
        first_wait: float = FIRST_WAIT,
        on_notice: Callable[[str], None] = lambda line: None,
        section: str = "generator",
    ) -> None:
        """Prepares calls; connects to nothing yet.

        Args:
            url: the base URL, without a path's name at its end.
            key: is sent as a bearer token.
            timeout: seconds that one call may take, and that the server may be away.
            retries: the number of times that a call which failed is made again.
            first_wait: seconds before the first of them.
            on_notice: is called with a line when the server is away for a while, and when it is back.
            section: of the configuration, for messages.
        """
        self.section = section
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key.value}"} if key is not None else {}
        self._timeout, self._retries, self._first_wait = timeout, retries, first_wait
        self._notice = on_notice
        self._answered = 0.0
        self._away = False
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, within: float) -> Any:
        """Returns the JSON of a path, asked once.

        Raises ServerRefused for an error status, ServerLost where there is no answer in ``within`` seconds,
        and ValueError where it is no JSON.
        """
        try:
            return await self._call("GET", path, None, read_json, within)
        except _Failed as failed:
            raise ServerRefused(failed.status, failed.reason) from failed
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.url}{path} answers with no JSON: {error.doc[:80]!r}; {BASE}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = said(error) if str(error) else f"nothing in {within:g} s"
            raise ServerLost(f"{self.url} does not answer: {reason}") from error

    async def post(self, path: str, body: Mapping[str, Any], read: Read = read_json) -> Any:
        """Returns the answer to a body, as ``read`` reads it; the call is made again where that may help.

        While the server is away (no connection, or a status of ``AWAY``) it is called until it has answered
        nobody for ``timeout`` seconds. After another failure it is called ``retries`` times more. Waits grow
        exponentially, with jitter, and a ``Retry-After`` is heeded.

        Raises ServerRefused, GaveUp or ServerLost. A caller that is cancelled closes its connection, by which
        a server knows to stop.
        """
        began, failures, wait = time.monotonic(), 0, self._first_wait
        while True:
            asked = None
            try:
                answer = await self._call("POST", path, body, read, self._timeout)
            except _Failed as failed:
                if failed.status not in AGAIN:
                    self.heard()
                    raise ServerRefused(failed.status, failed.reason) from failed
                reason, away, asked = f"{failed.status} {failed.reason}", failed.status in AWAY, failed.wait
            except aiohttp.InvalidURL as error:
                raise ServerRefused(0, said(error)) from error
            except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
                reason = said(error) if str(error) else f"no whole answer in {self._timeout:g} s"
                away = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            else:
                self.heard()
                return answer
            silent = time.monotonic() - max(began, self._answered)
            if silent >= self._timeout:
                raise ServerLost(f"{self.url} has answered nothing for {silent:.0f} s: {reason}")
            failures += not away
            if failures > self._retries:
                raise GaveUp(f"{self.url}: {reason} (tried {failures} times)")
            if away and silent >= QUIET_SECONDS and not self._away:
                self._away = True
                self._notice(f"{self.url} is away ({reason}); called again for {self._timeout:g} s")
            await asyncio.sleep(wait * random.uniform(0.5, 1) if asked is None else min(asked, self._timeout))
            wait = min(2 * wait, LONGEST_WAIT)

    def heard(self) -> None:
        """Notes that the server has answered something, if only a piece of a stream."""
        self._answered = time.monotonic()
        if self._away:
            self._away = False
            self._notice(f"{self.url} answers again")

    async def _call(self, method: str, path: str, body: Any, read: Read, within: float) -> Any:
        """Makes one call. Raises _Failed for a status of 400 or more, and the exceptions of aiohttp."""
        if self._session is None:
            # How many calls there are at once is their caller's to decide.
            self._session = aiohttp.ClientSession(
                headers=self._headers, connector=aiohttp.TCPConnector(limit=0), proxy=proxy_of(self.url)
            )
        timeout = aiohttp.ClientTimeout(total=within, sock_connect=min(within, CONNECT_SECONDS))
        async with self._session.request(method, self.url + path, json=body, timeout=timeout) as response:
            if response.status >= 400:
                reason = explained(await response.read()) or response.reason or ""
                raise _Failed(response.status, reason, retry_after(response.headers.get("Retry-After")))
            return await read(response)


def proxy_of(url: str) -> str | None:
    """Returns the proxy that the environment (``HTTPS_PROXY``, ``NO_PROXY`` and others) has for a URL.

    aiohttp's ``trust_env`` would also read ~/.netrc, and refuse a key beside what is there.
    """
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


class _Failed(Exception):
    """One answer with an error status, and the seconds that the server asks to wait."""

    def __init__(self, status: int, reason: str, wait: float | None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.wait = status, reason, wait


def explained(body: bytes) -> str:
    """Returns the message of an error's body in one line, at most 300 characters: of OpenAI's and others'
    JSON, else its text."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    for key in ("error", "message", "detail"):
        if isinstance(found, Mapping) and found.get(key):
            found = found[key]
    return " ".join(str(found).split())[:300]


def retry_after(header: str | None) -> float | None:
    """Returns the seconds that a Retry-After header asks to wait; None where it says nothing readable."""
    if header is None:
        return None
    try:
        wait = float(header)
    except ValueError:
        try:
            wait = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, wait) if wait < float("inf") else None


def said(error: BaseException) -> str:
    """Returns an exception in one line."""
    text = f"{type(error).__name__}: {error}".replace(" ssl:default", "")
    return " ".join(text.split())[:300]
