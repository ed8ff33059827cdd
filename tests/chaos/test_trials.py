"""A trial's faults are a function of its number; what it ends with is compared and counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.tables import outcomes, recoveries
from tests.chaos.trials import InjectedFault, RunOutcome, compared, plan
from tests.support.leftovers import Left


def test_a_trials_faults_are_a_function_of_its_number():
    plans = [plan(number, controller=False) for number in range(200)]
    assert plans == [plan(number, controller=False) for number in range(200)]
    faults = [fault for each in plans for fault in each]
    assert {(fault.victim, fault.signal) for fault in faults} == {
        (victim, how) for victim in ("generator", "verifier") for how in ("SIGKILL", "SIGSTOP")
    }
    assert {len(each) for each in plans} == {1, 2, 3}
    assert {fault.victim for fault in plan(3, controller=True)} == {"controller"}


END = RunOutcome("sha", 90, 100, frozenset({("p", "a"), ("p", "b")}), 0, 1.0)


@pytest.mark.parametrize(
    ("end", "wrong"),
    [
        (END, set()),
        (replace(END, solutions="other"), {"identical"}),
        (replace(END, spent=91), {"identical"}),
        (replace(END, failed=1), {"identical"}),
        (replace(END, spent=101), {"identical", "over_budget"}),
        (replace(END, operations=frozenset({("p", "a")})), {"lost"}),
        (replace(END, operations=END.operations | {("p", "c")}), {"added"}),
    ],
)
def test_a_trial_that_ends_otherwise_is_told_apart(end, wrong):
    trial = compared(0, "replicas", END, end, [InjectedFault("generator", 0.5)], Left(), [])
    found = {name for name in ("over_budget", "lost", "added") if getattr(trial, name)}
    assert found | (set() if trial.identical else {"identical"}) == wrong
    assert trial.injected == ["generator, killed"]


def test_the_tables_count_faults_what_was_left_and_recoveries():
    bad = replace(END, spent=103, operations=frozenset({("p", "a"), ("p", "c"), ("p", "d")}))
    kill, stop = InjectedFault("generator", 0.5), InjectedFault("verifier", 0.5, "SIGSTOP")
    left = Left(("ray::GeneratorActor",), ("psm_1", "psm_2"), ("/tmp/ray/sockets/raylet",))
    trials = [
        compared(0, "replicas", END, END, [kill, stop], Left(), [(kill.kind, 10.0), (stop.kind, 30.0)]),
        compared(1, "replicas", END, bad, [kill], left, [(kill.kind, 20.0)]),
        compared(0, "controller", END, "exit status 1", [InjectedFault("controller", 0.1)], Left(), []),
    ]
    assert [trial.good for trial in trials] == [True, False, False]

    def cells(table) -> dict[str, list[str]]:
        first, *others = (list(column.cells) for column in table.columns)
        return {name: list(row) for name, *row in zip(first, *others, strict=True)}

    counted = cells(outcomes(trials))
    assert counted["trials"] == ["1", "2", "3"]
    assert counted["faults"] == ["1", "3", "4"]
    assert counted["ended as the undisturbed run"] == ["0", "1", "1"]
    assert counted["over their budget"] == ["0", "1", "1"]
    assert counted["FLOPs over the budget"] == ["0", "3", "3"]
    assert (counted["operations lost"][-1], counted["operations added"][-1]) == ("1", "2")
    found = [counted[f"{what} left"][-1] for what in ("processes", "shared-memory segments", "sockets")]
    assert found == ["1", "2", "1"]
    assert cells(recoveries(trials)) == {
        "generator, killed": ["2", "2", "15.0", "20.0", "20.0"],
        "verifier, stopped": ["1", "1", "30.0", "30.0", "30.0"],
    }
