"""A vLLM engine inside the actor's own process, stepped by one thread.

No engine process can outlive its actor, and the engine starts faster than vLLM's multi-process server.

This module, ``actors.engine_options`` and ``actors.block_reuse`` use internals of vLLM 0.32. Each place has a
comment that begins with "vLLM 0.32:"; ``actors/README.md`` lists them.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from actors.downloads import hub_folder, told_of
from actors.engine_jobs import Generated, Job, JobOutcome, Pooled, Refused
from actors.engine_options import check_kernels
from actors.faults import described, one_line
from actors.load_meter import LoadMeter
from actors.messages import Load, kept_logprob
from actors.printed import say_phase

if TYPE_CHECKING:
    from vllm import LLMEngine

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Inbox:
    """The orders of other threads to the engine thread, oldest first."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    orders: list[Job | str | None] = field(default_factory=list)
    """A job to add, the key of a job to abort, or None to empty the prefix cache."""
    stopping: bool = False


class EngineClosed(RuntimeError):
    """Raised by an engine that was stopped and takes no more jobs."""


class FirstPassError(RuntimeError):
    """Raised where the engine was built, and the model then failed in its first pass."""


class EngineThread:
    """Owns an ``LLMEngine``: builds it, steps it and closes it, all in one background thread.

    That thread calls ``on_outcomes`` with the outcomes of each engine step; ``on_outcomes`` may call
    ``add_again``. An exception in the engine or in ``on_outcomes`` ends the process, once ``on_failure`` was
    told of it: an actor whose engine is dead must not look alive. During ``run_alone`` it is raised there.
    The constructor returns when the engine is up, or raises what stopped it.
    """

    def __init__(
        self,
        options: dict[str, Any],
        on_outcomes: Callable[[list[JobOutcome]], None],
        adapter: str | None = None,
        on_failure: Callable[[str], None] = lambda why: None,
    ) -> None:
        """Builds the engine. ``adapter`` is the directory of a LoRA adapter that every job runs with."""
        self.steps = 0
        """The number of engine steps so far; it rises as long as the engine makes progress."""
        self.phases: dict[str, float] = {}
        """Seconds of each phase of the start: ``configure``, ``download`` (of a model of the hub), ``load``
        (with the measure of the memory), ``compile`` and ``first pass``."""
        self._load_meter = LoadMeter()
        self._preemptions = 0
        self._options = options
        self._adapter = adapter
        self._lora: Any = None
        self._on_outcomes = on_outcomes
        self._on_failure = on_failure
        self._inbox = _Inbox()
        self._jobs: dict[str, Job] = {}
        self._scheduler_ids: dict[str, str] = {}  # by the job's key
        self._scheduled_tokens: dict[str, int] = {}  # by the scheduler's id of the job
        self._engine: LLMEngine | None = None
        self._build_error: BaseException | None = None
        self._alone: queue.SimpleQueue[Any] | None = None
        built = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(built,), name="vllm-engine", daemon=True)
        self._thread.start()
        built.wait()
        if self._build_error is not None:
            raise self._build_error

    def add(self, jobs: Sequence[Job]) -> None:
        """Queues jobs; each has exactly one outcome unless it is aborted first. Raises EngineClosed."""
        self._order(jobs)

    def add_again(self, jobs: Sequence[Job]) -> None:
        """Queues jobs like ``add``, and drops them without an error if the engine is being closed."""
        with suppress(EngineClosed):
            self._order(jobs)

    def abort(self, keys: Sequence[str]) -> None:
        """Drops jobs; a job that has not finished yet has no outcome. Unknown keys are ignored."""
        if not self._inbox.stopping:
            self._order(keys)

    def forget(self) -> None:
        """Empties the prefix cache. Does nothing while jobs are running."""
        self._order([None])

    def run_alone(self, job: Job) -> JobOutcome:
        """Runs one job and returns its outcome. The engine must have no other user yet. Raises FirstPassError
        where the engine fails."""
        began = time.perf_counter()
        box: queue.SimpleQueue[Any] = queue.SimpleQueue()  # the outcomes, or what the engine failed with
        self._alone = box
        on_outcomes, self._on_outcomes = self._on_outcomes, box.put
        say_phase("first pass")
        self.add([job])
        found = box.get()
        self._alone, self._on_outcomes = None, on_outcomes
        if isinstance(found, BaseException):
            failed = FirstPassError(f"the model's first pass failed: {one_line(found)}")
            raise failed.with_traceback(found.__traceback__) from found  # so that its place is shown
        self.phases["first pass"] = _lap(began)[0]
        (outcome,) = found
        return outcome

    def stop(self) -> None:
        """Closes the engine and ends the thread; unfinished jobs have no outcome. Idempotent."""
        with self._inbox.changed:
            self._inbox.stopping = True
            self._inbox.changed.notify()
        self._thread.join()

    def load(self) -> Load:
        """Returns the engine's load since the last call."""
        return self._load_meter.report()

    # vLLM 0.32: LLMEngine.renderer, model_config and vllm_config in the next six properties.

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer that the engine loaded."""
        return self._built.renderer.get_tokenizer()

    @property
    def dtype(self) -> str:
        """What the model computes in, as ``bfloat16``."""
        return str(self._built.model_config.dtype).removeprefix("torch.")

    @property
    def vocab_size(self) -> int:
        """Rows of the model's embedding table."""
        return self._built.model_config.get_vocab_size()

    @property
    def max_model_len(self) -> int:
        """The largest length of prompt and output together, in tokens."""
        return self._built.model_config.max_model_len

    @property
    def max_num_seqs(self) -> int:
        """The most requests that the scheduler runs at once."""
        return self._built.vllm_config.scheduler_config.max_num_seqs

    @property
    def kv_cache_tokens(self) -> int:
        """The number of tokens whose keys and values fit in the cache."""
        return self._built.vllm_config.cache_config.kv_cache_size_tokens or 0

    @property
    def _built(self) -> LLMEngine:
        assert self._engine is not None, "the engine is closed"
        return self._engine

    def _order(self, orders: Sequence[Job | str | None]) -> None:
        with self._inbox.changed:
            if self._inbox.stopping:
                raise EngineClosed("the engine is shut down")
            self._inbox.orders.extend(orders)
            self._inbox.changed.notify()

    def _run(self, built: threading.Event) -> None:
        # Not in the caller's thread: OpenMP's thread count and torch's modes are per thread.
        try:
            self._engine = engine = self._build()
        except BaseException as error:
            self._build_error = error
            return
        finally:
            built.set()
        try:
            while self._take_orders(engine):
                if self._jobs:
                    self._step(engine)
            self._engine = None
            engine.engine_core.shutdown()  # vLLM 0.32: LLMEngine itself has no shutdown
        except BaseException as error:
            if self._alone is not None:  # its caller waits for it
                self._alone.put(error)
                return
            with suppress(Exception):
                self._on_failure(described(error))
            _die("the engine failed; ending this process")

    def _build(self) -> LLMEngine:
        import torch
        from vllm import EngineArgs, LLMEngine
        from vllm.model_executor.model_loader import get_model_loader
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext

        began = time.perf_counter()
        say_phase("configure")
        # vLLM 0.32: LLM_CLASS selects the batch sizes of offline use, for throughput and not latency.
        usage = UsageContext.LLM_CLASS
        config = EngineArgs(**self._options).create_engine_config(usage)
        check_kernels(
            config.model_config.quantization,
            on_cpu=current_platform.is_cpu(),
            capability=torch.backends.cpu.get_cpu_capability(),
        )
        self.phases["configure"], began = _lap(began)
        model, load = config.model_config.model, config.load_config
        if not Path(model).is_dir():
            with told_of(hub_folder(model, load.download_dir)):
                get_model_loader(load).download_model(config.model_config)
            self.phases["download"], began = _lap(began)
        say_phase("load")
        engine = LLMEngine.from_vllm_config(config, usage, disable_log_stats=True)
        # vLLM 0.32: CompilationConfig.compilation_time, the longest of its workers.
        compiled = config.compilation_config.compilation_time
        self.phases |= {"load": _lap(began)[0] - compiled, "compile": compiled}
        scheduler = _scheduler(engine)
        # vLLM 0.32: Scheduler._preempt_request; preemptions are counted only with all statistics on.
        preempt = scheduler._preempt_request

        def counted(*args: Any, **kwargs: Any) -> None:
            self._preemptions += 1
            preempt(*args, **kwargs)

        scheduler._preempt_request = counted
        # vLLM 0.32: Scheduler.schedule and SchedulerOutput.num_scheduled_tokens (by the scheduler's id);
        # RequestOutput.num_cached_tokens does not tell what is computed again after a preemption.
        schedule = scheduler.schedule

        def summed(*args: Any, **kwargs: Any) -> Any:
            output = schedule(*args, **kwargs)
            for id, tokens in output.num_scheduled_tokens.items():
                if id in self._scheduled_tokens:  # else it is finished
                    self._scheduled_tokens[id] += tokens
            return output

        scheduler.schedule = summed
        if self._adapter is not None:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("adapter", 1, os.path.expanduser(self._adapter))
        return engine

    def _take_orders(self, engine: LLMEngine) -> bool:
        """Carries out the orders in the inbox; sleeps while there is none. Returns False at a stop."""
        inbox = self._inbox
        with inbox.changed:
            while not (inbox.orders or inbox.stopping or self._jobs):
                inbox.changed.wait()
            if inbox.stopping:
                return False
            orders, inbox.orders = inbox.orders, []
        refused: list[JobOutcome] = []
        for order in orders:
            if order is None:
                # vLLM 0.32: Scheduler.connector. The cache is not reset while the connector holds a block,
                # and an idle engine makes no step in which it would let go.
                connector = _scheduler(engine).connector
                if hasattr(connector, "let_go"):
                    connector.let_go()
                engine.reset_prefix_cache()
            elif isinstance(order, str):
                if self._pop(order) is not None:
                    engine.abort_request([order])
            elif error := self._add(engine, order):
                refused.append(Refused(order, error))
        if refused:
            self._on_outcomes(refused)
        return True

    def _add(self, engine: LLMEngine, job: Job) -> str | None:
        from vllm.exceptions import VLLMClientError
        from vllm.inputs.engine import tokens_input

        try:
            # vLLM 0.32: add_request returns the id that the scheduler uses, which is not the key.
            id = engine.add_request(
                job.key,
                tokens_input(job.prompt),
                job.params,
                lora_request=self._lora,
                priority=job.priority,
            )
        except (VLLMClientError, ValueError, TypeError) as error:
            return " ".join(str(error).split())
        except Exception as error:  # nothing has run yet: it is this request's alone
            log.exception("job %s cannot be added", job.key)
            with suppress(Exception):  # what vLLM may have kept of it
                engine.abort_request([job.key])
            return described(error)
        self._jobs[job.key] = job
        self._scheduler_ids[job.key], self._scheduled_tokens[id] = id, 0
        return None

    def _pop(self, key: str) -> tuple[Job, int] | None:
        """Removes a job that is done or dropped. Returns it with the tokens that were scheduled for it."""
        job = self._jobs.pop(key, None)
        return None if job is None else (job, self._scheduled_tokens.pop(self._scheduler_ids.pop(key)))

    def _step(self, engine: LLMEngine) -> None:
        outcomes: list[JobOutcome] = []
        stepped = engine.step()
        self.steps += 1
        # vLLM 0.32: Scheduler.get_request_counts and get_kv_cache_usage; without its statistics on, vLLM
        # reports neither.
        scheduler = _scheduler(engine)
        running, waiting = scheduler.get_request_counts()
        self._load_meter.stepped(
            running=running,
            finished=len(stepped),  # FINAL_ONLY: an output is a finished request
            waiting=waiting,
            kv_usage=scheduler.get_kv_cache_usage(),
            preemptions=self._preemptions,
        )
        for output in stepped:
            if (popped := self._pop(output.request_id)) is None:
                continue
            outcomes.append(_outcome(output, *popped))
        if outcomes:
            self._on_outcomes(outcomes)


def _lap(began: float) -> tuple[float, float]:
    """Returns the seconds since ``began``, and the time now."""
    now = time.perf_counter()
    return now - began, now


def _outcome(output: Any, job: Job, ran: int) -> JobOutcome:
    """The outcome of a job that an engine step has finished. What cannot be read fails this job alone."""
    try:
        if hasattr(output.outputs, "data"):
            # vLLM 0.32: num_cached_tokens is the number of the prompt's tokens without a row in data.
            return Pooled(job, output.outputs.data, output.num_cached_tokens or 0, ran)
        sample = output.outputs[0]
        tokens, held = tuple(sample.token_ids), sample.logprobs or ()
        logprobs = tuple(kept_logprob(at[token].logprob) for token, at in zip(tokens, held, strict=False))
        return Generated(job, tokens, sample.finish_reason or "", sample.stop_reason, ran, logprobs)
    except Exception as error:
        log.exception("the output of job %s cannot be read", job.key)
        return Refused(job, described(error))


def _scheduler(engine: LLMEngine) -> Any:
    """Returns the engine's scheduler."""
    # vLLM 0.32: LLMEngine.engine_core is an InprocClient, whose engine_core is the EngineCore.
    return engine.engine_core.engine_core.scheduler


def _die(message: str) -> NoReturn:
    """Logs the current exception and ends the process at once, whatever its other threads do."""
    try:
        log.critical(message, exc_info=True)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)
