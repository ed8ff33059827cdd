"""The tags of an experiment in MLflow: what its page opens on, and its description."""

from __future__ import annotations

DESCRIPTION = """Searches for answers by test-time compute, within a budget in FLOPs, made with `ttc`.

- **A run** searches every problem with one strategy and budget. Its name says what it found; its
  description has the table. The runs of a sweep are below one run, which compares them.
- **accuracy** is that of the rule that chooses the answer, over all problems (while the run goes on, over
  those decided so far), with its 95 % interval in `accuracy_low` and `accuracy_high`; `accuracy/RULE` is that
  of each rule. **flops_per_problem** is what was
  charged.
- **progress/** is drawn against FLOPs: a step is 10⁶ FLOPs. `RULE_of_decided` counts the problems whose
  search had ended by then; `RULE_of_all` counts every problem, and one that is not decided yet as wrong.
- **Filter** by tags: `tags.strategy = 'beam_search'`; also `generator`, `verifier`, `allocation`, `budget`,
  `seed`.
- **Compare** two runs problem by problem: select both, then *Evaluation*, table `problems.json`.
- **Traces** are the first problems' searches: a span an operation.
"""

EXPERIMENT = {
    "mlflow.experimentKind": "custom_model_development",  # opens on the runs, and not on the usage of traces
    "mlflow.note.content": DESCRIPTION,
}
