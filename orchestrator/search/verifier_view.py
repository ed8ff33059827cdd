"""What the run's verifier reads of a node's path, what that costs, and what it can cost at most.

``TokenView`` shows the generator's own token ids to a verifier of the same vocabulary. ``TextView`` shows a
path as text, in the verifier's own format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

from orchestrator.budget.flops import CostModel
from orchestrator.formats.definition import Format, Input
from orchestrator.formats.texts import shared_length
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem, filled
from orchestrator.search.tree import Node

SPARE_TOKENS = 64
"""Tokens that a bound adds to what it estimates: a short path has words around it too."""
LEAST_STEP = 10
"""Tokens of a step that a bound supposes where it is not known how many steps a text will have."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One input that the verifier reads for scores of a node, and its charge."""

    input: Input
    new: int
    """Tokens that are charged, the last ones: the verifier has read the others for this problem."""
    flops: int
    """FLOPs of the ``new`` tokens."""


class VerifierView(Protocol):
    """How one problem's paths are shown to the verifier."""

    @property
    def opening(self) -> int:
        """Tokens that are charged once a problem, before any path."""

    def shown(self, node: Node) -> tuple[Shown, ...]:
        """Returns what is read for the scores that ``node`` still lacks."""

    def worst(self, parent: Node, new: int) -> int:
        """Returns the most FLOPs that are granted for the scores of a path with ``new`` more tokens."""

    def scores(self, node: Node, found: tuple[float, ...]) -> tuple[float, ...]:
        """Returns all scores of ``node`` when ``found`` are those of its ``shown`` inputs."""

    def fits(self, shown: Sequence[Shown]) -> bool:
        """Tells whether the verifier can read every input."""


@dataclass(frozen=True)
class TokenView:
    """Shows the generator's token ids as they are.

    A PRM reads a path once and is charged for what follows its scored part. An ORM (``whole``) reads an
    attempt after everything it was written after and is charged for its whole input: an attempt after its
    history is a prefix of nothing else.
    """

    costs: CostModel
    prompt: tuple[int, ...]
    whole: bool = False

    @property
    def opening(self) -> int:
        return 0 if self.whole else len(self.prompt)

    def shown(self, node: Node) -> tuple[Shown, ...]:
        start, end = self._range(node, len(node.tokens))
        if self.whole:
            read = Input(self._history(node) + node.tokens[len(self.prompt) :], (end,))
        else:
            read = Input(node.tokens, node.step_ends)
        return (Shown(read, end - start, self.costs.score(start, end)),)

    def worst(self, parent: Node, new: int) -> int:
        return self.costs.score(*self._range(parent, len(parent.tokens) + new))

    def scores(self, node: Node, found: tuple[float, ...]) -> tuple[float, ...]:
        return found

    def fits(self, shown: Sequence[Shown]) -> bool:
        return True  # the engine's context is checked before the start

    def _range(self, node: Node, end: int) -> tuple[int, int]:
        """The positions of the verifier's input that are charged for the path of ``node`` up to ``end``."""
        if self.whole:
            return 0, len(self._history(node)) + end - len(self.prompt)
        return max(node.judged, len(self.prompt)), end

    def _history(self, node: Node) -> tuple[int, ...]:
        """The ids that an attempt was written after: the prompt, or earlier attempts and the prompt."""
        return self.prompt if node.context is None else node.context


@dataclass(frozen=True)
class TextView:
    """Shows a path as text, in the verifier's own tokens.

    Each input is charged beyond the longest prefix that it shares with the one before it; the first one, with
    what was read for the node's scored part, or with the opening. How many of its tokens a text will have is
    not known before it is written: ``worst`` grants ``ratio`` of them for each token of the generator, and
    what the format adds. A path that takes more is not scored, which is counted.

    A step without words is shown to none: no verifier was trained on one. It has the score of the step before
    it, or at the beginning that of the step after it.
    """

    costs: CostModel
    format: Format
    codec: Codec
    question: str
    prompt: int
    """Tokens of the generator's prompt."""
    ratio: float = 2.0
    limit: int | None = None
    """The longest input that the verifier takes, in tokens; None where that is not known."""
    _opening: list[tuple[int, ...]] = field(default_factory=list, repr=False)

    @property
    def opening(self) -> int:
        return len(self._begin())

    def shown(self, node: Node) -> tuple[Shown, ...]:
        steps, judged = self._steps(node), self._judged(node)
        said, known = _with_words(steps), len(_with_words(steps[:judged]))
        if self.format.whole:
            known = 0
        elif judged and known == len(said):
            return ()
        before = self._read_before(steps, judged)
        shown: list[Shown] = []
        for read in self.format.inputs(self.question, said or ("",), known):
            start, end = shared_length(before, read.tokens), len(read.tokens)
            shown.append(Shown(read, end - start, self.costs.score(start, end)))
            before = read.tokens
        return tuple(shown)

    def worst(self, parent: Node, new: int) -> int:
        known = self._steps(parent)
        more = ceil(self.ratio * new) + self.format.overhead * ceil(new / LEAST_STEP) + SPARE_TOKENS
        if self.format.whole:  # it reads the question and all that is written
            written = self.format.inputs(self.question, _with_words(known) or ("",), 0)[-1].tokens
            return self.costs.score(0, len(written) + more)
        start = len(self._read_before(known, self._judged(parent)))
        return self.costs.score(start, start + more)

    def scores(self, node: Node, found: tuple[float, ...]) -> tuple[float, ...]:
        if self.format.whole:
            return found
        judged = self._judged(node)
        scores, new = list(node.scores[:judged]), 0
        for step in self._steps(node)[judged:]:
            scores.append(scores[-1] if scores and not step else found[new])
            new += bool(step)
        return tuple(scores)

    def fits(self, shown: Sequence[Shown]) -> bool:
        return self.limit is None or all(len(each.input.tokens) <= self.limit for each in shown)

    def _read_before(self, steps: tuple[str, ...], judged: int) -> tuple[int, ...]:
        said = _with_words(steps[:judged])
        if not said or self.format.whole:
            return self._begin()
        return self.format.inputs(self.question, said, len(said) - 1)[-1].tokens

    def _begin(self) -> tuple[int, ...]:
        if not self._opening:
            self._opening.append(self.format.opening(self.question))
        return self._opening[0]

    def _judged(self, node: Node) -> int:
        """Steps of the node that have a score."""
        return sum(end <= node.judged for end in node.step_ends)

    def _steps(self, node: Node) -> tuple[str, ...]:
        return self.codec.step_texts(node.tokens, self.prompt, node.step_ends)


def _with_words(steps: Sequence[str]) -> tuple[str, ...]:
    return tuple(step for step in steps if step)


def view_of(
    problem: Problem,
    prompt: tuple[int, ...],
    codec: Codec,
    costs: CostModel,
    format: Format | None,
    *,
    whole: bool = False,
    ratio: float = 2.0,
    limit: int | None = None,
) -> VerifierView:
    """Returns how a verifier is shown the paths of a problem whose prompt has these token ids.

    Without a ``format`` it reads them as they are; ``whole`` is then True where it scores whole solutions.
    """
    if format is None:
        return TokenView(costs, prompt, whole=whole)
    return TextView(costs, format, codec, filled("{problem}", problem), len(prompt), ratio, limit)
