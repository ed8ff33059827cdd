"""The table at the end of a run, as rows of text: the terminal and MLflow show the same."""

from __future__ import annotations

from typing import Any

from orchestrator.analysis.failures import told
from orchestrator.analysis.words import percent
from orchestrator.budget.units import described, in_flops
from orchestrator.errors import counted
from orchestrator.runs.results import Group, Summary

OWN_MAJORITY = "votes of the solutions that it returned, which may share steps: not of independent samples"
"""Why the majority of a search differs from that of a baseline."""


def summary_rows(s: Summary) -> list[tuple[str, str]]:
    """Returns the rows of the table at the end of a run: a name and a text."""
    asked, buys = described(s.budget)
    cut = [f"{s.exhausted} cut short by the budget"] if s.exhausted else []
    after = f", {s.failed_answered} of them after an answer" if s.failed_answered else ""
    cut += [f"{s.failed} failed{after}"] if s.failed else []
    cut += [f"{s.skipped} skipped: too long"] if s.skipped else []
    writers = "generator, reviser" if "reviser" in s.utilisation else "generator"
    rows: list[tuple[str, Any]] = [
        ("problems", ", ".join([f"{s.problems}", f"{s.answered} answered", *cut])),
        *([("failed", told(s.failed, s.problems, s.errors))] if s.failed else []),
        *_accuracy(s),
        ("coverage", percent(s.estimate("coverage"), " %")),
        *(
            [("pass@1", f"{plain_percent(s.pass_at_k[1].value)} (one of its solutions)")]
            if 1 in s.pass_at_k
            else []
        ),
        *([] if s.by is None else _grouped(s.by, s.groups[s.by])),
        *([("correct → incorrect", f"{plain_percent(s.flips)} of revisions")] if s.flips is not None else []),
        ("budget", asked),
        ("  which buys", buys),
        ("spent", f"{in_flops(s.flops.spent)} ({plain_percent(s.flops.spent / s.flops.budget)})"),
        *([("  moved", _moved(s.allocation))] if any(s.allocation.values()) else []),
        (f"  {writers}", f"{in_flops(s.flops.generator)}, {s.tokens['generator']:,} tokens"),
        *([("  verifier", _scored(s))] if s.flops.verifier or s.scores is not None else []),
        *([("  selection", _selection(s))] if s.choices else []),
        *([("beside it, judge", f"{in_flops(s.flops.judge)}")] if s.flops.judge else []),
        *([("beside it, no search", f"{in_flops(s.flops.baseline)}")] if s.flops.baseline else []),
        ("computed / charged", f"{s.flops.computed_over_logical:.3f}"),
        ("throughput", f"{s.tokens_per_second:,.0f} generated tokens/s"),
        ("utilisation", ", ".join(f"{name} {plain_percent(u)}" for name, u in s.utilisation.items())),
        ("latency", f"{s.latency['p50']:.1f} s a problem (median), {s.latency['p95']:.1f} s (95 %)"),
        ("time", f"{s.seconds:.1f} s of search after {s.startup_seconds:.1f} s of start-up"),
    ]
    if s.cut_steps > 0.5:
        why = "by max_step_tokens and not with generator.step_delimiter; does the model write it?"
        rows.append(("warning: steps", f"{plain_percent(s.cut_steps)} ended {why}"))
    if s.unscored:
        rows.append(
            (
                "not scored",
                f"{s.unscored:,} paths: their text is too long, or the verifier had no score (run.log)",
            )
        )
    if s.compared:
        again = f"{plain_percent(s.copies / s.compared)} of {s.compared:,} samples"
        rows.append(("copies", f"{again} were equal to an earlier sibling, and are one with it"))
    if s.blind:
        low, high = s.scores or (0.0, 0.0)
        same = f"from {low:.6f} to {high:.6f}: the verifier tells nothing apart; is verifier.format its own?"
        rows.append(("warning: scores", same))
    if s.answered and not s.coverage:
        none = f"no solution of {counted(s.problems, 'problem')} is right"
        rows.append(("warning: answers", f"{none}; does problems.answers read them? ttc explore shows them"))
    if s.returned_nothing:
        none = f"of {counted(s.returned_nothing, 'problem')} the strategy returned none"
        rows.append(("warning: solutions", f"{none}, though it had paid for finished ones (run.log)"))
    if s.ungraded:
        counts = (f"{n:,} {name.replace('_', ' ')}" for name, n in s.ungraded.items())
        rows.append(("not graded", f"{', '.join(counts)}: run.log has the inputs"))
    if s.replayed:
        rows.append(("replayed", f"{s.replayed:,} of {s.operations:,} operations, from the journal"))
    return rows


def _scored(s: Summary) -> str:
    return f"{in_flops(s.flops.verifier)}, {s.tokens['verifier']:,} tokens"


def _moved(allocation: dict[str, int]) -> str:
    if "passed_on" in allocation:
        return f"{in_flops(allocation['passed_on'])} that problems left of their shares, to those after them"
    return f"between problems in {allocation['rounds']} rounds, {allocation['solved']} needed no more"


def _selection(s: Summary) -> str:
    """What generative selection took of the generator's FLOPs, and what became of its choices."""
    told = f"{in_flops(s.flops.selection)} of the generator's, {s.choices['asked']:,} choices"
    told += f", {s.choices['unread']:,} of them unreadable" if s.choices["unread"] else ""
    lacking = f", {s.choices['unmade']:,} not made for want of budget or context (run.log)"
    return told + (lacking if s.choices["unmade"] else "")


def _grouped(by: str, groups: dict[str, Group]) -> list[tuple[str, str]]:
    """A row for each value of an attribute: how many problems, and the accuracy with its 95 % interval."""
    return [
        (
            f"  {by} {value}",
            ", ".join(
                [
                    f"{group.problems}: coverage {percent(group.coverage, ' %')}",
                    *(f"{rule} {percent(estimate, ' %')}" for rule, estimate in group.accuracy.items()),
                ]
            ),
        )
        for value, group in groups.items()
    ]


def plain_percent(share: float) -> str:
    """Returns a share as a percentage that has no interval: ``18.7 %``."""
    return f"{100 * share:.1f} %"


def _accuracy(s: Summary) -> list[tuple[str, str]]:
    """The accuracy by each rule; beside that of samples without any search, what each costs a problem."""
    found = [(rule, percent(s.estimate(rule), " %")) for rule in s.accuracy]
    if (base := s.baseline) is None:
        return [(f"accuracy, {rule}", shown) for rule, shown in found]
    several = (base.majority, base.majority_flops)
    without = [("one sample", base.one, base.one_flops), (f"majority of {base.samples}", *several)]
    return [
        *((f"no search: {name}", f"{percent(e, ' %')} {_a_problem(flops)}") for name, e, flops in without),
        *((f"search, {rule}", f"{shown} {_a_problem(s.flops.spent / s.problems)}") for rule, shown in found),
        *([("  its majority", OWN_MAJORITY)] if "majority" in s.accuracy else []),
    ]


def _a_problem(flops: float) -> str:
    return f"for {in_flops(flops)} a problem"
