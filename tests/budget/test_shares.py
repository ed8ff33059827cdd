"""Shares that are passed on: who gets what depends on the order of the problems, and never on the timing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.budget.ledger import Lease, Reservation
from orchestrator.budget.shares import Shares

Work = tuple[int, int]
"""The most that a request may cost, and what it costs."""

WORKS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)).map(lambda w: (w[0], min(w))), max_size=6)
PROBLEMS = st.lists(st.tuples(st.integers(0, 60), WORKS), min_size=1, max_size=6)


@dataclass
class Searching:
    """A search that asks for all its works at once, and ends when each is refused or done."""

    lease: Lease
    works: Sequence[Work]
    granted: list[bool] = field(default_factory=list)
    running: list[tuple[Reservation, int]] = field(default_factory=list)

    def begin(self) -> None:
        for worst, actual in self.works:
            self.lease.request(worst, lambda given, actual=actual: self._decided(given, actual))

    def _decided(self, given: Reservation | None, actual: int) -> None:
        self.granted.append(given is not None)
        if given is not None:
            self.running.append((given, actual))

    @property
    def over(self) -> bool:
        return len(self.granted) == len(self.works) and not self.running


def one_after_the_other(problems: Sequence[tuple[int, Sequence[Work]]]) -> tuple[list[list[bool]], list[int]]:
    """What each problem is granted and has spent, as the rule says it: one problem at a time."""
    passed, granted, spent = 0, [], []
    for share, works in problems:
        left, grows, keeps_turn = share, True, True
        decisions = []
        for worst, actual in works:
            if worst > left and grows:
                grows = False
                taken = min(passed, max(share, worst - left))
                if left + taken >= worst:
                    passed, left, keeps_turn = passed - taken, left + taken, False
            decisions.append(worst <= left)
            left -= actual if decisions[-1] else 0
        passed += left if keeps_turn else 0
        granted.append(decisions)
        spent.append(sum(a for (_, a), yes in zip(works, decisions, strict=True) if yes))
    return granted, spent


def searched(
    problems: Sequence[tuple[int, Sequence[Work]]], at_once: int, order: random.Random
) -> tuple[list[list[bool]], list[int], Shares, Lease]:
    """The same with several searches at once, whose works end in any order. Fails where nothing goes on."""
    budget = Lease(sum(share for share, _ in problems))
    shares = Shares(budget, [share for share, _ in problems])
    all_, open_ = [], {}
    while open_ or len(all_) < len(problems):
        assert budget.settled + budget.reserved <= budget.limit
        moves = [("open", 0)] if len(open_) < at_once and len(all_) < len(problems) else []
        moves += [("close", i) for i, one in open_.items() if one.over]
        moves += [("end", i) for i, one in open_.items() if one.running]
        assert moves, "all searches wait"
        kind, i = order.choice(moves)
        if kind == "open":
            one = Searching(shares.open(len(all_), f"p{len(all_)}"), problems[len(all_)][1])
            open_[len(all_)] = one
            all_.append(one)
            one.begin()
        elif kind == "close":
            shares.close(i)
            del open_[i]
        else:
            held, actual = open_[i].running.pop(order.randrange(len(open_[i].running)))
            held.settle(actual)
            held.close()
    return [one.granted for one in all_], [one.lease.settled for one in all_], shares, budget


@settings(max_examples=400)
@given(problems=PROBLEMS, at_once=st.integers(1, 6), order=st.randoms(use_true_random=False))
def test_each_problem_gets_what_the_rule_says_whatever_ends_first(problems, at_once, order):
    granted, spent, shares, budget = searched(problems, at_once, order)
    assert (granted, spent) == one_after_the_other(problems)
    assert (budget.settled, budget.reserved) == (sum(spent), 0)
    assert sum(spent) <= sum(share for share, _ in problems)
    beyond = [max(0, cost - share) for cost, (share, _) in zip(spent, problems, strict=True)]
    assert shares.to_dict() == {"passed_on": sum(beyond)}


SHARE = 10
NEEDY = [(SHARE, SHARE)] * 5
"""Works that could take five shares."""


@pytest.mark.parametrize(
    ("works", "grants"),
    [
        ([[(4, 4)], NEEDY], [1, 1]),  # 6 are passed on, and another 10 are needed
        ([[], NEEDY], [0, 2]),
        ([[], [], NEEDY, NEEDY], [0, 0, 2, 2]),  # at most as much again as a share; the rest is passed on
        ([[], [], [(30, 30)]], [0, 0, 1]),  # or what its next request needs
        ([[], [(11, 3), (20, 1)], NEEDY], [0, 1, 1]),  # what was taken is not passed on again
        ([NEEDY, []], [1, 0]),  # nothing is passed back
        ([[(9, 9), (9, 9)], [(10, 10)], [(11, 11)]], [1, 1, 1]),  # one that is refused leaves the rest
    ],
)
def test_what_is_passed_on(works, grants):
    problems = [(SHARE, each) for each in works]
    for at_once in (1, 4):
        granted, *_ = searched(problems, at_once, random.Random(0))
        assert [sum(each) for each in granted] == grants


def test_a_search_waits_for_those_before_it_and_not_for_one_that_had_its_turn():
    shares = Shares(Lease(50), [SHARE] * 5)
    works = [[], [], NEEDY, NEEDY, NEEDY]
    searches = [Searching(shares.open(i, f"p{i}"), each) for i, each in enumerate(works)]
    for one in searches:
        one.begin()
    for one in searches[2:]:
        held, actual = one.running.pop()
        held.settle(actual)
        held.close()
    shares.close(1)
    assert [len(one.granted) for one in searches[2:]] == [1, 1, 1]  # all wait for the first
    shares.close(0)
    assert [one.granted for one in searches[2:4]] == [[True, True]] * 2  # while both have work under way
    assert len(searches[4].granted) == 5  # there is nothing more to wait for
    assert sum(searches[4].granted) == 1


def test_without_passing_on_a_share_is_all_that_a_problem_has():
    shares = Shares(Lease(20), [10, 10], pass_on=False)
    shares.open(0, "p0")
    shares.close(0)
    one = Searching(shares.open(1, "p1"), NEEDY)
    one.begin()
    held, actual = one.running.pop()
    held.settle(actual)
    held.close()
    assert one.granted == [True, False, False, False, False]
    shares.close(1)
    assert shares.passed_on == 0
