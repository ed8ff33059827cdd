"""The description of an experiment: what its studies ask."""

from __future__ import annotations

from orchestrator.tracking.about import AGAIN, HEAD, LONGEST_STUDY, MOST_STUDIES, READING, described


def study(name: str, command: str = "ttc run a.yaml") -> str:
    return f"**{name}**: `best_of_n`{AGAIN}`{command}`"


def listed(note: str) -> list[str]:
    return [line.removeprefix("- ") for line in note.splitlines() if AGAIN in line]


def test_it_lists_each_study_once_with_the_newest_command_that_repeats_it():
    note = described(None, study("a"))
    assert note is not None
    assert note.startswith(HEAD)
    assert note.endswith(READING)
    assert listed(note) == [study("a")]
    assert described(note, study("a")) is None, "nothing is new"
    note = described(note, study("b"))
    assert listed(note) == [study("b"), study("a")]
    note = described(note, study("a", "ttc run b.yaml"))
    assert listed(note) == [study("a", "ttc run b.yaml"), study("b")]


def test_a_strategy_may_have_the_words_that_divide_the_list():
    note = None
    asked = [f"**a**: `wait= Again: {value} How to read it:`{AGAIN}`ttc run {value}`" for value in "xy"]
    for each in asked:
        note = described(note, each)
    assert listed(note) == asked[::-1]


def test_what_a_user_has_written_stays_and_what_asks_nothing_adds_nothing():
    assert described("Our own words.", study("a")) is None
    assert described(None, "") is None
    note = described(None, study("a"))
    added = f"{note.rstrip()}\n\nOur own words."
    note = described(added, study("b"))
    assert note.endswith(f"{READING}\nOur own words.")
    assert listed(note) == [study("b"), study("a")]
    assert described(note, study("b")) is None


def test_it_is_no_longer_than_mlflow_takes():
    note = None
    for number in range(20):
        note = described(note, study("x" * (LONGEST_STUDY - 40) + f"{number:02}"))
    assert len(listed(note)) == MOST_STUDIES
    assert len(note.encode()) < 5000
