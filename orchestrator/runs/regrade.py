"""Grades the solutions of a finished run again, from its table of results; only a judge needs engines."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from actors.messages import ReplicaInfo
from orchestrator.analysis.baseline import COLUMNS
from orchestrator.config.fingerprint import fingerprint
from orchestrator.config.judge import prepare_judge
from orchestrator.config.schema import Config
from orchestrator.config.truths import check_truths, graded_against_itself
from orchestrator.config.written import to_yaml
from orchestrator.durability.files import write_atomically
from orchestrator.durability.journal import Journal
from orchestrator.errors import BadInput, in_one_line
from orchestrator.grading.checker import Checker
from orchestrator.grading.grader import NOTHING, Grader, Reading
from orchestrator.grading.registry import resolve
from orchestrator.grading.user import UserChecker
from orchestrator.problems.problem import Problem
from orchestrator.runs.choosing import RULE as GENERATIVE
from orchestrator.runs.controller import SearchResult, Solution
from orchestrator.runs.judging import ModelJudge
from orchestrator.runs.results import grades
from orchestrator.runs.results_file import PROBLEMS, write_table
from orchestrator.search.context import Usage
from orchestrator.search.selection import ALL as RULES
from orchestrator.search.selection import Candidate

RESULTS, SUMMARY, CONFIG = "results.parquet", "summary.json", "config.yaml"
BEFORE = "before-regrade"
"""In the name of the copy of a file as the run left it."""
AT_ONCE = 32
"""Problems that are graded beside each other, so that every process has work."""


IN_SUMMARY = ("problems", "answered", "accuracy", "coverage", "distinct_answers")
IN_ROW = ("problem", "prompt", "answer", "difficulty", "solutions", "exhausted", "error")
IN_SOLUTION = ("path", "text", "tokens", "score", "step_scores", "finish")
"""What is needed of a summary, of a row and of a solution in it."""


class GradingObserver(Protocol):
    """Watches a run being graded again, and a judge start: the display."""

    def starting(self, names: Sequence[str]) -> None:
        """Is told which replicas of a judge are about to start."""

    def ready(self, info: ReplicaInfo) -> None:
        """Is told that a replica can serve."""

    def notice(self, line: str) -> None:
        """Is told, in one line, of a replica that is lost, awaited or back."""

    def grading(self, problems: int, judged: int) -> None:
        """Is told that grading begins, and how many verdicts of a judge are known from before."""

    def graded(self) -> None:
        """Is told of each problem that is graded."""


async def regrade(
    directory: Path, config: Config, observer: GradingObserver
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Grades a run's solutions by ``config``, and replaces its table, its summary and its configuration; the
    files as the run left them are kept beside them. Returns the summaries before and after.

    Raises BadInput where the run is not finished, its table cannot be read, or the checker cannot judge by
    its answers; AnswersFailed; and PoolFailed where a judge does not start.
    """
    table, rows, before = _read(directory)
    checker = resolve(config.problems.answers)
    _check(checker, [_problem(row) for row in rows], config)
    slots = asyncio.Semaphore(AT_ONCE)
    async with _judge(directory, config, len(rows), observer) as (judge, judged):
        observer.grading(len(rows), judged)
        grader = Grader(checker, end_of_thinking=config.generator.end_of_thinking, judge=judge)

        async def one(row: Mapping[str, Any]) -> SearchResult:
            async with slots:
                result = await _graded(row, grader)
            observer.graded()
            return result

        results = await asyncio.gather(*map(one, rows))
    found = {name: _plain(value) for name, value in grades(results).items()}
    after = {**before, **found, "ungraded": dict(grader.counts), "baseline": None}
    if judge is not None:
        after["flops"] = {**before.get("flops", {}), "judge": judge.budget.spent}
    _write(directory, table, rows, results, after, config)
    write_table(results, directory / PROBLEMS)
    return before, after


@asynccontextmanager
async def _judge(
    directory: Path, config: Config, problems: int, observer: GradingObserver
) -> AsyncIterator[tuple[ModelJudge | None, int]]:
    """The judge of a run that is graded again, while its engines run, and how many verdicts it has given
    before; None where no model judges.

    Its verdicts are in a journal of their own, so that what was judged before is not asked again.
    """
    config, judge = prepare_judge(config)
    if judge is None:
        yield None, 0
        return
    from orchestrator.runs.session import judge_alone  # Ray is imported where there is work for it

    same = fingerprint(config)
    async with judge_alone(config, judge, observer) as ask:
        journal = Journal(directory / f"judge-{same[:12]}.sqlite", fingerprint=same)
        try:
            yield ModelJudge(judge, ask, journal, problems), len(journal)
        finally:
            journal.close()


def begun(directory: Path) -> Path:
    """Returns the configuration with which a run was begun."""
    kept = _kept(directory / CONFIG)
    return kept if kept.is_file() else directory / CONFIG


def put_back(directory: Path) -> None:
    """Puts the files of a run that was graded again back as the run left them."""
    for name in (RESULTS, SUMMARY, CONFIG):  # the configuration last: it says what the others are
        kept = _kept(directory / name)
        if kept.is_file():
            kept.replace(directory / name)


def _kept(path: Path) -> Path:
    return path.with_name(f"{path.stem}.{BEFORE}{path.suffix}")


def _read(directory: Path) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / RESULTS
    for name in (SUMMARY, RESULTS):
        if not (directory / name).is_file():
            raise BadInput("run_id", directory.name, f"needed: a finished run; it has no {name}")
    try:
        summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        table = pq.read_table(path)
        rows = table.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadInput(
            "run_id", directory.name, f"its results cannot be read ({in_one_line(error)})"
        ) from error
    if not rows:
        raise BadInput("run_id", directory.name, "its table of results is empty")
    lacking = [name for name in IN_SUMMARY if not isinstance(summary, dict) or name not in summary]
    if lacking:
        raise BadInput("run_id", directory.name, f"its {SUMMARY} has no {', '.join(lacking)}")
    _check_columns(directory, rows)
    return table, rows, summary


def _check_columns(directory: Path, rows: list[dict[str, Any]]) -> None:
    """Raises BadInput for a table that lacks what grading needs, or has a rule that is not known."""
    kept = [one for row in rows for one in row.get("solutions") or ()][:1]
    lacking = [name for name in IN_ROW if name not in rows[0]]
    lacking += [f"solutions.{name}" for one in kept for name in IN_SOLUTION if name not in one]
    if lacking:
        raise BadInput("run_id", directory.name, f"its {RESULTS} has no column {', '.join(lacking)}")
    for name in rows[0]:
        if name.startswith("selected_") and name.removeprefix("selected_") not in (*RULES, GENERATIVE):
            known = ", ".join(f"selected_{rule}" for rule in (*RULES, GENERATIVE))
            raise BadInput("run_id", directory.name, f"its {RESULTS} has the column {name}; allowed: {known}")


def _check(checker: Checker, problems: list[Problem], config: Config) -> None:
    """Raises BadInput where a checker cannot judge by the problems' answers, or takes none of them."""
    check_truths(checker, problems)
    if isinstance(checker, UserChecker):  # it may want an answer in a form that only its author knows
        return
    if len(graded_against_itself(checker, problems)) == len(problems):
        needed = f"it takes none of the run's answers for themselves, such as {problems[0].answer[:60]!r}"
        raise BadInput("problems.answers", config.problems.answers, needed)


def _problem(row: Mapping[str, Any]) -> Problem:
    also = tuple(row.get("also") or ())
    return Problem(row["problem"], row["prompt"], row["answer"], row["difficulty"], also=also)


async def _graded(row: Mapping[str, Any], grader: Grader) -> SearchResult:
    problem = _problem(row)
    kept = row["solutions"] or []
    whole = [i for i, one in enumerate(kept) if one["finish"] == "end"]
    found = await grader.read([kept[i]["text"] for i in whole])
    readings = dict(zip(whole, found, strict=True))
    candidates = []
    for i, one in enumerate(kept):
        reading, path = readings.get(i, NOTHING), one["path"]
        chain = path.partition(".")[0]
        sure = one.get("confidence")
        candidates.append(Candidate(reading.answer, one["score"], chain, reading.key, path, sure))
    rules = [name.removeprefix("selected_") for name in row if name.startswith("selected_")]
    selected = {rule: RULES[rule](candidates) for rule in rules if rule != GENERATIVE}
    if GENERATIVE in rules:  # the generator's pick stands, and its answer is read anew
        picked = (i for i, one in enumerate(kept) if one["answer"] == row[f"selected_{GENERATIVE}"])
        at = next(picked, None)
        selected[GENERATIVE] = None if at is None else candidates[at].answer
    read = [Reading(candidate.answer, candidate.key) for candidate in candidates]
    right = await grader.solved(problem, read, [one["text"] for one in kept])
    solutions = tuple(
        Solution(
            one["path"],
            one["text"],
            one["tokens"],
            candidate.answer,
            correct,
            one["score"],
            tuple(one["step_scores"] or ()),
            one["finish"],
            candidate.key,
            candidate.confidence,
        )
        for one, candidate, correct in zip(kept, candidates, right, strict=True)
    )
    known = {reading.answer: good for reading, good in zip(read, right, strict=True)}
    correct = {rule: known.get(answer, False) for rule, answer in selected.items()}
    return SearchResult(problem, solutions, selected, correct, Usage(), row["exhausted"], row["error"])


def _write(
    directory: Path,
    table: Any,
    rows: list[dict[str, Any]],
    results: list[SearchResult],
    summary: Mapping[str, Any],
    config: Config,
) -> None:
    """Replaces the files one by one, the summary last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row, result in zip(rows, results, strict=True):
        for one, solution in zip(row["solutions"] or (), result.solutions, strict=True):
            one.update(answer=solution.answer, correct=solution.correct, key=solution.key or solution.answer)
        row["covered"] = result.covered
        row.update((name, None) for name in COLUMNS if name in row)  # its samples are not graded again
        for rule, answer in result.selected.items():
            row[f"selected_{rule}"], row[f"correct_{rule}"] = answer, result.correct[rule]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_with_key(table.schema)), buffer)
    contents: dict[str, str | bytes] = {
        RESULTS: buffer.getvalue(),
        CONFIG: to_yaml(config),
        SUMMARY: json.dumps(summary, indent=2) + "\n",
    }
    for name, content in contents.items():
        path = directory / name
        kept = _kept(path)
        if not kept.exists():  # as the run left it, however often it is graded again
            shutil.copy2(path, kept)
        write_atomically(path, content)


def _with_key(schema: Any) -> Any:
    """The schema of a table that was written before answers had keys, with a column for them."""
    import pyarrow as pa

    at = schema.get_field_index("solutions")
    solution = schema.field(at).type.value_type
    if solution.get_field_index("key") >= 0:
        return schema
    return schema.set(at, pa.field("solutions", pa.list_(pa.struct([*solution, ("key", pa.string())]))))


def _plain(value: Any) -> Any:
    """Containers as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
