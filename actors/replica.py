"""The base of generators and verifiers: batches of requests in, finished results out."""

from __future__ import annotations

import asyncio
import itertools
import logging
import operator
import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import ray

from actors.devices import own_devices
from actors.engine import EngineThread
from actors.engine_defaults import device_options
from actors.engine_jobs import Job, JobOutcome, Refused
from actors.engine_options import engine_options
from actors.faults import described
from actors.hub import HubAccess
from actors.machine import Machine
from actors.messages import Failure, Load, Notice, ReplicaInfo, Request, Result
from actors.outbox import Outbox
from actors.ports import take_range
from actors.printed import name_lines, say_phase

log = logging.getLogger(__name__)

T = TypeVar("T")


class Replica(ABC):
    """One model in one engine. A plain class, to be created with ``ray.remote(cls).options(...)``.

    ``submit`` and ``collect`` each move many requests in one call, so that a remote call's cost does
    not bound the rate of steps; results come back in the order in which they finish.
    """

    ping_poll: float = 0.1
    """Seconds between two looks of a ping at the number of engine steps."""
    last_word: float = 0.5
    """Seconds for which a process whose engine failed lives on, so that the caller hears why."""

    def __init__(
        self,
        name: str,
        model: str,
        *,
        dtype: str = "float32",
        seed: int = 0,
        engine: dict[str, Any] | None = None,
        adapter: str | None = None,
        hub: HubAccess | None = None,
    ) -> None:
        """Loads ``model`` and returns when the engine can serve. ``engine`` overrides vLLM's ``EngineArgs``;
        ``adapter`` is the directory of a LoRA adapter; ``hub`` is the access of who starts this process.

        Raises ValueError for an unknown engine option, RuntimeError for another vLLM than the pinned one,
        FirstPassError where the model cannot be run, and the exceptions of vLLM.
        """
        started = time.perf_counter()
        name_lines(name)
        say_phase("import")
        if hub is not None:
            hub.apply()
        self.name = name
        self.model = model
        self._keys = (f"r{n}" for n in itertools.count())
        self._live: dict[str, str] = {}  # request id -> key of its job, until its result is ready
        self._pings: dict[str, asyncio.Future[Result | Failure]] = {}  # by key
        self._outbox: Outbox[Result | Failure | Notice] = Outbox()
        self._machine = Machine()
        self._loop: asyncio.AbstractEventLoop | None = None
        devices = own_devices()
        if devices is not None:
            devices.hide()
        take_range()
        derived = device_options(devices.gpus) if devices is not None else {}
        options = engine_options(
            model, dtype=dtype, seed=seed, options={**derived, **self.engine_defaults(), **(engine or {})}
        )
        waiting = time.perf_counter()
        if devices is not None and devices.shared:
            say_phase("wait")
        with devices.turn() if devices is not None else nullcontext():
            waited = time.perf_counter() - waiting
            self._engine = EngineThread(options, self._on_outcomes, adapter, self._on_failure)
            # A replica is up once it has run the model.
            self._first = self._engine.run_alone(self.probe("first"))
        if isinstance(self._first, Refused):
            raise ValueError(f"{name} ({model}): {self._first.error}")
        self._start_seconds = time.perf_counter() - started
        turn = {"wait": waited} if devices is not None and devices.shared else {}
        self._phases = {"import": waiting - started, **turn, **self._engine.phases}

    def __repr__(self) -> str:
        return self.name  # by which Ray names the lines that it prints

    @classmethod
    def engine_defaults(cls) -> dict[str, Any]:
        """Returns the ``EngineArgs`` that this kind of replica needs."""
        return {}

    @abstractmethod
    def job(self, key: str, request: Request) -> Job | Result | None:
        """Returns the engine's job for a request; called in the event loop.

        Returns the result itself if no engine is needed, and None if it comes with that of another job (see
        ``shared``). Raises ValueError or TypeError if the request can never be answered.
        """

    @abstractmethod
    def results(self, outcomes: list[JobOutcome]) -> list[tuple[str, Result | Failure]]:
        """Returns (key, result) of the outcomes that are complete; called in the engine's thread."""

    @abstractmethod
    def probe(self, key: str) -> Job:
        """Returns the cheapest job that runs the model."""

    async def info(self) -> ReplicaInfo:
        """Returns where this replica runs and how large its engine is.

        The caller begins anew: a ``collect`` that still waits here is of a caller that is out of reach, and
        must not take the next results.
        """
        self._outbox.begin_anew()
        return ReplicaInfo(
            name=self.name,
            node=ray.get_runtime_context().get_node_id() if ray.is_initialized() else platform.node(),
            pid=os.getpid(),
            max_model_len=self._engine.max_model_len,
            max_num_seqs=self._engine.max_num_seqs,
            kv_cache_tokens=self._engine.kv_cache_tokens,
            start_seconds=self._start_seconds,
            dtype=self._engine.dtype,
            phases=self._phases,
        )

    async def submit(self, requests: list[Request]) -> None:
        """Takes requests and returns at once.

        Each gets a ``Result`` or ``Failure`` through ``collect`` unless it is aborted. An id that is still
        here is ignored: a caller that lost an answer may send its requests again.
        """
        self._loop = asyncio.get_running_loop()
        here = {*self._live, *self._outbox.ids}
        jobs: list[Job] = []
        known: list[Result | Failure] = []
        for request in requests:
            if request.id in here:
                continue
            here.add(request.id)
            key = next(self._keys)
            try:
                job = self.job(key, request)
            except (ValueError, TypeError) as error:
                known.append(self.failure(request, error))
            except Exception as error:  # whatever it is, it is no other request's
                log.exception("request %s cannot be answered", request.id)
                known.append(self.failure(request, described(error)))
            else:
                if job is None or isinstance(job, Job):
                    self._live[request.id] = key
                    jobs += [job] if job is not None else []
                else:
                    known.append(job)
        self._engine.add(jobs)
        self._outbox.put(known)

    async def collect(self) -> list[Result | Failure | Notice | Load]:
        """Waits for a result; returns all results since the last call, and at their end the engine's load.
        A notice is the last word of an engine that has failed.

        A cancelled call loses nothing: the next one returns what it did not. It does not wait for more
        results: those that come during one round trip make the next batch. A newer call takes over from an
        older one, whose caller may be out of reach; the older one returns nothing.
        """
        ready = await self._outbox.take()
        return [*ready, self._engine.load()] if ready else []

    async def abort(self, ids: list[str]) -> None:
        """Stops these requests; they give no result any more. Unknown ids are ignored."""
        keys = [key for id in ids if (key := self._live.pop(id, None)) is not None]
        self._outbox.drop(set(ids))
        self._engine.abort(self.unshared(keys))

    def shared(self, key: str, result: Result | Failure) -> list[tuple[str, Result | Failure]]:
        """Returns (key, result) of the requests that waited for this job; called in the event loop."""
        return []

    def unshared(self, keys: list[str]) -> list[str]:
        """Returns the jobs that no other request waits for; called in the event loop before an abort."""
        return keys

    async def forget(self) -> None:
        """Empties the caches, so that a run's cost does not depend on the run before it.

        The replica must have no running requests.
        """
        self._engine.forget()

    async def ping(self) -> float:
        """Returns the seconds until the engine has made a step of its requests, or one token if it has none.

        Raises RuntimeError if the engine refuses the probe.
        """
        self._loop = asyncio.get_running_loop()
        key = next(self._keys)
        done = self._pings[key] = self._loop.create_future()
        started, steps = time.perf_counter(), self._engine.steps
        try:
            self._engine.add([self.probe(key)])
            # A full engine has no place for the probe until a request ends, which may take minutes.
            while not done.done() and self._engine.steps == steps:
                await asyncio.wait([done], timeout=self.ping_poll)
        finally:
            del self._pings[key]
            if not done.done():
                self._engine.abort([key])
        if done.done() and isinstance(result := done.result(), Failure):
            raise RuntimeError(f"{self.name}: {result.error}")
        return time.perf_counter() - started

    async def machine(self) -> tuple[str, dict[str, float]]:
        """Returns the name of the machine that this replica runs on, and its measurements (``Machine``)."""
        return self._machine.name, self._machine.read()

    async def shutdown(self) -> None:
        """Closes the engine; the replica answers nothing afterwards. Idempotent."""
        await asyncio.to_thread(self._engine.stop)

    def check_tokens(self, tokens: Sequence[int]) -> list[int]:
        """Returns ``tokens`` as a list of Python ints. Raises ValueError if it is empty or has an unknown id.

        An index outside the model's embedding table would kill the engine.
        """
        prompt = list(map(operator.index, tokens))
        if not prompt:
            raise ValueError("the prompt is empty")
        size = self._engine.vocab_size
        if min(prompt) < 0 or max(prompt) >= size:
            bad = next(token for token in prompt if not 0 <= token < size)
            raise ValueError(f"token id {bad} is outside the vocabulary of {size} tokens")
        return prompt

    def guarded(self, job: Job, read: Callable[[], T]) -> T | Failure:
        """Returns what ``read`` does with an outcome of the job; a ``Failure`` where it raises an exception,
        which in the engine's thread would end the process, and every other request with it."""
        try:
            return read()
        except Exception as error:
            log.exception("request %s cannot be answered", job.request.id)
            return self.failure(job.request, described(error))

    def failure(self, request: Request, error: object) -> Failure:
        """Returns a one-line ``Failure`` that names the replica, its model and the request."""
        line = " ".join(str(error).split())
        return Failure(request.id, f"{self.name} ({self.model}), request {request.id}: {line}", self.name)

    def _on_outcomes(self, outcomes: list[JobOutcome]) -> None:
        done: list[tuple[str, Result | Failure]] = []
        finished: list[JobOutcome] = []
        for outcome in outcomes:
            if isinstance(outcome, Refused):
                done.append((outcome.job.key, self.failure(outcome.job.request, outcome.error)))
            else:
                finished.append(outcome)
        done += self.results(finished)
        if done and self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliver, done)

    def _on_failure(self, why: str) -> None:
        """Tells the caller why this process ends, and waits until that is said; called in the engine's
        thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._outbox.put, [Notice(f"the engine failed: {why}")])
            time.sleep(self.last_word)

    def _deliver(self, done: list[tuple[str, Result | Failure]]) -> None:
        for key, result in [pair for first in done for pair in (first, *self.shared(*first))]:
            if (ping := self._pings.get(key)) is not None:
                if not ping.done():
                    ping.set_result(result)
            elif self._live.get(result.id) == key:  # else it was aborted, and its id may be in use again
                del self._live[result.id]
                self._outbox.put([result])
