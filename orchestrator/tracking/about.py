"""The tags of an experiment in MLflow: what its page opens on, and its description: the studies that it has,
and how to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Experiment

HEAD = "Searches for answers by test-time compute, within a budget in FLOPs, made with `ttc`."
"""How a description begins that is ours, and no user's."""
READING = """- **A run** searches every problem with one strategy and budget. Its name says what it found; its
  description has the table. The runs of a sweep are below one run, which compares them.
- **accuracy** is that of the rule that chooses the answer, over all problems (while the run goes on, over
  those decided so far), with its 95 % interval in `accuracy_low` and `accuracy_high`; `accuracy/RULE` is that
  of each rule. **flops_per_problem** is what was
  charged.
- **progress/** is drawn against FLOPs: a step is 10⁶ FLOPs. `RULE_of_decided` counts the problems whose
  search had ended by then; `RULE_of_all` counts every problem, and one that is not decided yet as wrong.
- **Filter** by tags: `tags.strategy = 'beam_search'`; also `generator`, `verifier`, `allocation`, `budget`,
  `seed`, `steered`; a sweep by `tags.strategies LIKE '%beam_search%'`.
- **Compare** two runs problem by problem: select both, then *Evaluation*, table `problems.json`.
- **Traces** are the first problems' searches: a span an operation.
"""
ASKED, READ = "What is asked here, the newest first:", "How to read it:"
AGAIN = " Again: "
"""Before the command that repeats a study."""
MOST_STUDIES, LONGEST_STUDY = 8, 450
"""Studies that are listed, and characters of each: MLflow takes 5,000 of the whole."""

NOTE = "mlflow.note.content"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""It opens on the runs, and not on the usage of traces."""


def described(note: str | None, study: str) -> str | None:
    """Returns the description of an experiment whose description is ``note``, with a study in it, which is a
    line of Markdown that ends with ``AGAIN`` and a command; None where it stays as it is. A study that only
    another command repeats takes the place of the earlier one. A text of a user's stays, also one that was
    added after ours."""
    if not study or (note is not None and not note.startswith(HEAD)):
        return None
    new = f"- {study}"
    earlier = [line for line in (note or "").partition(f"\n{READ}\n")[0].splitlines() if AGAIN in line]
    kept = [line for line in earlier if line.rpartition(AGAIN)[0] != new.rpartition(AGAIN)[0]]
    studies = [new, *kept][:MOST_STUDIES]
    added = (note or "").partition(READING.rstrip())[2].strip()
    whole = "\n".join([HEAD, "", ASKED, "", *studies, "", READ, "", READING, *filter(None, [added])])
    return None if whole == note else whole


def deleted(experiment: Experiment) -> str | None:
    """Says that an experiment was deleted, and how to have it back; None where it is there."""
    if experiment.lifecycle_stage == "active":
        return None
    restored = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    return f"the experiment {experiment.name} was deleted there; to restore it: {restored}"
