"""What the page shows, as frozen values. The page has each of them as an array, and the names of its fields
once (``fields``)."""

from __future__ import annotations

from typing import Literal

import msgspec

Fate = Literal["returned", "kept", "dropped", "copy", "open"]
"""What became of a node: it is a solution that the search returned; it leads to one; it leads to none; it is
equal to an earlier sibling and became that one; or the search has not ended, so it is not known."""

What = Literal["prompt", "kept", "dropped", "copy", "choice", "open"]
"""What FLOPs were spent on: prompts and given text, nodes by their fate, and generative selection."""


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A part of a node's text: one step, or the part of it that is thinking."""

    text: str
    score: float | None = None
    """The verifier's, in [0, 1], of the path up to the end of the piece; None where it has none."""
    sort: Literal["", "thinking", "given"] = ""
    """``given`` is text that the strategy wrote; it has none where that was not recorded."""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A part of a revision: words that it shares with the attempt before it, adds, or leaves out."""

    sort: Literal["=", "+", "-"]
    text: str


class TreeNode(msgspec.Struct, frozen=True, array_like=True):
    """One sample of a search."""

    path: str
    above: int
    """The index of its parent among the nodes; -1 at the root."""
    pieces: tuple[Piece, ...]
    """Its text; a copy has that of its first."""
    finish: str
    """Why sampling stopped: step, thought, end or length."""
    fate: Fate
    first: int
    """The index of the sibling that a copy became; -1 of any other node."""
    tokens: int
    flops: int
    """Charged for the sample."""
    verifier_flops: int
    """Charged for its score; a copy has none of its own."""
    revision: bool = False
    """True where the reviser wrote it: a whole new attempt, which does not continue its parent's text."""
    changes: tuple[Change, ...] = ()
    """What a revision changed in the attempt before it."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One operation, in the order in which results were recorded."""

    kind: Literal["sample", "revise", "score", "choose"]
    node: int
    """The index of its node; -1 of a choice among solutions."""
    flops: int
    tokens: int
    """New tokens of a sample; steps of a score."""
    computed: int
    """Tokens that the engine ran."""
    replica: str
    sent: int | None = None
    """Milliseconds from the search's first operation to when this one was sent; None where that was not
    kept."""
    lasted: int | None = None
    """Milliseconds from then to its answer: it waited for a place at a replica, and was computed."""
    waited: int | None = None
    """The milliseconds of those in which it waited; None where that was not kept. Of one that was lost with a
    replica, until it was taken to the one that answered."""
    lost: tuple[str, ...] = ()
    """The replicas that were lost with it before: it was done again."""


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """A solution that a search returned."""

    node: int
    """The index of its node; -1 where the journal does not have it."""
    path: str
    answer: int
    """Its place in ``Tree.answers``; -1 where no answer could be read."""
    key: int
    """Answers with equal keys are one; -1 of a solution that does not vote."""
    correct: bool
    score: float | None
    step_scores: tuple[float, ...]
    confidence: float | None
    times: int
    """How often it was returned: a path that a search reached several times votes as often."""


class Vote(msgspec.Struct, frozen=True, array_like=True):
    """One of the different answers, and its weight by a rule."""

    answer: int
    """Its place in ``Tree.answers``."""
    correct: bool
    solutions: int
    weight: float | None
    """None where the rule's weight of it is not known."""
    won: bool


class RuleVotes(msgspec.Struct, frozen=True, array_like=True):
    """A selection rule's decision."""

    rule: str
    answer: int
    """Its place in ``Tree.answers``; -1 where none is selected."""
    correct: bool
    votes: tuple[Vote, ...]
    """The heaviest first."""
    chosen: int
    """The index of the best-scored ending with the selected answer; -1 where there is none."""
    rival: int
    """The index of the best-scored ending with another answer; -1 where there is none."""


class Cost(msgspec.Struct, frozen=True, array_like=True):
    """FLOPs of the nodes of one depth and one fate."""

    depth: int
    """Samples on the way from the root; 0 for the prompt and for choices."""
    what: What
    generator: int
    verifier: int


class Tree(msgspec.Struct, frozen=True, array_like=True):
    """The search of one problem."""

    problem: str
    prompt: str
    reply: str
    """The text that each answer begins with, as the model is given it."""
    expected: str
    also: tuple[str, ...]
    nodes: tuple[TreeNode, ...]
    """Parents before their children, siblings in the order in which they were asked for."""
    events: tuple[Event, ...]
    answers: tuple[str, ...]
    """What solutions say, each text once."""
    endings: tuple[Ending, ...]
    rules: tuple[RuleVotes, ...]
    costs: tuple[Cost, ...]
    error: str | None


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One problem in the list."""

    problem: str
    prompt: str
    """The beginning of it."""
    expected: str
    difficulty: float | None
    attributes: str
    correct: tuple[bool, ...]
    """By rule, in the order of ``Explored.rules``."""
    answered: bool
    """True where any rule selects an answer."""
    agree: bool
    """True where all rules select the same."""
    covered: bool
    """True where any solution is right."""
    flops: int
    seconds: float | None
    nodes: int
    endings: int
    exhausted: bool
    error: str | None
    ended: bool
    """False where the run was cut short before this search ended."""
    strategy: str = ""
    """What a policy has chosen to run on it, with its parameters; empty where none chooses."""


class Replica(msgspec.Struct, frozen=True, array_like=True):
    """The operations of one replica, over all problems."""

    name: str
    samples: int
    scores: int
    tokens: int
    """New tokens that it sampled."""
    computed: int
    """Tokens that its engine ran."""
    flops: int


class PoolWork(msgspec.Struct, frozen=True, array_like=True):
    """The operations of one pool over a run's time."""

    pool: str
    operations: int
    untold: int
    """Those of them of which it is not known how long they waited: they count as computed."""
    waited: float
    """Seconds of all of them together in which they waited for a place at a replica."""
    computed: float
    """Seconds of all of them together from when a replica had taken them to their answers."""
    waiting: tuple[float, ...]
    """How many of them waited, on average in each of equal parts of the time."""
    computing: tuple[float, ...]
    """How many of them a replica had, in the same parts."""


class Work(msgspec.Struct, frozen=True, array_like=True):
    """What was under way over a run's time."""

    seconds: float
    """From the first operation to the last answer, without what is left out."""
    left_out: float
    """Seconds in which the run had stopped, before it went on."""
    pools: tuple[PoolWork, ...]


class Explored(msgspec.Struct, frozen=True, array_like=True):
    """A run: the page has this at once, and each ``Tree`` when it is asked for."""

    run: str
    strategy: str
    about: tuple[tuple[str, str], ...]
    """What was run, as names and values."""
    rules: tuple[str, ...]
    rows: tuple[Row, ...]
    share: float | None
    """FLOPs of the budget for a problem, on average."""
    budget: int | None
    spent: int | None
    seconds: float | None
    replicas: tuple[Replica, ...]
    costs: tuple[Cost, ...]
    beside: tuple[tuple[str, int], ...]
    """FLOPs that were charged beside the budget: ``baseline``, ``judge``. Of a run that has not ended they
    are without those of prompts."""
    log: tuple[str, ...]
    """What the run's log says of its replicas: of those that were lost, and what was done again."""
    notes: tuple[str, ...]
    """What could not be shown, and why."""
    report: str | None = None
    """The report of the run, as a link from the page has it; None where it has none."""
    report_by: str = ""
    """The command that makes it; empty where it was there as the page was written."""
    work: Work | None = None
    """What was under way over its time; None where that was not kept. Of a run that has not ended it is that
    of the searches that have."""


SHAPES = (
    *(Explored, Row, Replica, Work, PoolWork, Tree, TreeNode, Piece, Change),
    *(Event, Ending, RuleVotes, Vote, Cost),
)


def fields() -> dict[str, tuple[str, ...]]:
    """Returns the names of the fields of each value, in the order of its array."""
    return {shape.__name__: shape.__struct_fields__ for shape in SHAPES}
