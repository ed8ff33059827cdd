"""A search described from its journal and results: the tree, what became of each node, votes and costs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.explore.description import Tree, TreeNode
from orchestrator.explore.tree import changes
from orchestrator.problems.codec import Codec
from orchestrator.runs.controller import SearchResult
from orchestrator.strategies.registry import REGISTRY
from tests.support.explored import PROBLEMS, reader, searched
from tests.support.scripted import (
    CODEC,
    EOS,
    GENERATOR,
    MARKER,
    VERIFIER,
    Characters,
    ScriptedEngine,
    letters,
)


async def described(tmp_path: Path, strategy: str, *given, **options) -> list[tuple[Tree, SearchResult]]:
    results = await searched(tmp_path / "run", strategy, *given, **options)
    with reader(tmp_path / "run", strategy, options.get("codec", CODEC)) as run:
        return list(zip(run.trees(), results, strict=True))


def text(node: TreeNode) -> str:
    return "".join(piece.text for piece in node.pieces)


def path_text(tree: Tree, node: TreeNode) -> str:
    above = "" if node.above < 0 or node.revision else path_text(tree, tree.nodes[node.above])
    return above + text(node)


@pytest.mark.parametrize("name", sorted(REGISTRY))
async def test_of_any_strategy_the_tree_is_whole_and_its_flops_are_those_that_were_charged(
    name: str, tmp_path: Path
):
    for tree, result in await described(tmp_path, name, ScriptedEngine(letters(3, length=1))):
        usage, nodes = result.usage, tree.nodes
        assert sum(cost.generator for cost in tree.costs) == usage.generator_flops
        assert sum(cost.verifier for cost in tree.costs) == usage.verifier_flops
        opening = [cost for cost in tree.costs if cost.what == "prompt"]
        length = len(CODEC.encode(result.problem.prompt))
        given = name == "budget_forcing"  # which writes text that is charged and is no operation
        assert sum(c.generator for c in opening) == GENERATOR.prefill(length) or given
        assert sum(c.verifier for c in opening) == VERIFIER.prefill(length)
        assert len(tree.events) == usage.operations
        assert sum(node.fate == "copy" for node in nodes) == usage.copies
        assert all(node.above < index for index, node in enumerate(nodes))
        assert Counter(s.path for s in result.solutions) == {e.path: e.times for e in tree.endings}
        for ending in tree.endings:
            node = nodes[ending.node]
            assert (node.path, node.fate) == (ending.path, "returned")
            solution = next(s for s in result.solutions if s.path == ending.path)
            if not given:
                assert path_text(tree, node).replace(EOS, "") == solution.text
            while node.above >= 0:
                node = nodes[node.above]
                assert node.fate in ("kept", "returned")
        for votes in tree.rules:
            selected = result.selected[votes.rule]
            assert (tree.answers[votes.answer] if votes.answer >= 0 else None) == selected
            won = [vote for vote in votes.votes if vote.won]
            assert [vote.answer for vote in won] == ([] if selected is None else [votes.answer])
            if won:
                assert tree.answers[tree.endings[votes.chosen].key] == selected
                assert votes.votes[0].weight == won[0].weight  # nothing is heavier than what was selected


async def test_a_beam_search_tells_what_was_pruned_what_was_kept_and_which_samples_are_one(tmp_path: Path):
    def write(request, text, rng) -> str:
        return f"x{EOS}" if text.rpartition("?")[2] else f"{rng.choice('0123')}\n"

    def judge(text: str) -> float:
        return int(text.rpartition("?")[2][0]) / 10

    engine = ScriptedEngine(write, judge)
    ((tree, result), _) = await described(tmp_path, "beam_search", engine, n=16, width=8)
    top = [node for node in tree.nodes if node.above < 0]
    scores = {text(node): node.pieces[-1].score for node in top if node.pieces}
    assert scores == {"0\n": 0.0, "1\n": 0.1, "2\n": 0.2, "3\n": 0.3}
    fates = {text(node): node.fate for node in top if node.pieces}
    assert fates == {"0\n": "dropped", "1\n": "dropped", "2\n": "kept", "3\n": "kept"}
    copies = [node for node in tree.nodes if node.fate == "copy"]
    assert len(copies) == result.usage.copies > 0
    assert all(tree.nodes[copy.first].above == copy.above and copy.verifier_flops == 0 for copy in copies)
    dropped = sum(cost.verifier for cost in tree.costs if cost.what == "dropped")
    assert dropped == sum(node.verifier_flops for node in top if node.fate == "dropped") > 0


async def test_the_order_is_that_in_which_results_were_recorded(tmp_path: Path):
    ((tree, _), _) = await described(tmp_path, "beam_search", n=4, width=2)
    born = {e.node: at for at, e in reversed([*enumerate(tree.events)]) if e.kind == "sample"}
    for index, node in enumerate(tree.nodes):
        assert node.above < 0 or born[node.above] < born[index]
    assert {event.replica for event in tree.events} == {"scripted"}


async def test_whole_solutions_come_in_steps_each_with_its_score(tmp_path: Path):
    ((tree, result), _) = await described(tmp_path, "best_of_n", n=4)
    assert [len(node.pieces) for node in tree.nodes] == [3] * 4
    for node, solution in zip(tree.nodes, result.solutions, strict=True):
        assert [piece.score for piece in node.pieces] == pytest.approx(solution.step_scores, abs=1e-6)
        assert node.finish == "end"


async def test_a_rule_is_explained_by_the_weights_of_answers_and_the_best_other_one(tmp_path: Path):
    def judge(text: str) -> float:
        return 0.9 if text.rpartition("?")[2].startswith("a") else 0.2

    def write(request, text, rng) -> str:
        return rng.choice("abb") + EOS

    ((tree, result), _) = await described(tmp_path, "best_of_n", ScriptedEngine(write, judge), n=12)
    texts = Counter(solution.text for solution in result.solutions)
    assert set(texts) == {"a", "b"}
    by_rule = {votes.rule: votes for votes in tree.rules}
    assert next(iter(by_rule)) == "weighted"
    weights = {
        rule: {tree.answers[v.answer]: v.weight for v in votes.votes} for rule, votes in by_rule.items()
    }
    assert weights["majority"] == {name: float(count) for name, count in texts.items()}
    assert weights["best"] == {"a": 0.9, "b": 0.2}
    assert weights["weighted"] == pytest.approx({"a": 0.9 * texts["a"], "b": 0.2 * texts["b"]}, abs=1e-4)
    best = by_rule["best"]
    assert tree.answers[tree.endings[best.chosen].answer] == "a"
    assert tree.answers[tree.endings[best.rival].answer] == "b"


async def test_revisions_are_attempts_with_what_each_changed(tmp_path: Path):
    ((tree, _), _) = await described(tmp_path, "revisions", n=4, length=2)
    later = [node for node in tree.nodes if node.revision and node.above >= 0]
    assert len(later) == 2
    for node in later:
        before = tree.nodes[node.above]
        assert "".join(c.text for c in node.changes if c.sort != "+") == text(before)
        assert "".join(c.text for c in node.changes if c.sort != "-") == text(node)
    hierarchical = next(votes for votes in tree.rules if votes.rule == "hierarchical")
    assert hierarchical.votes[0].weight == max(vote.weight for vote in hierarchical.votes)


def test_changes_are_words_and_nothing_is_compared_that_takes_too_long():
    found = [(change.sort, change.text) for change in changes("so x = 3\n", "so x = 14\n")]
    assert found == [("=", "so x = "), ("-", "3"), ("+", "14"), ("=", "\n")]
    assert changes("word " * 5000, "word") == ()


async def test_given_text_is_read_off_the_solution_and_thinking_is_told_apart(tmp_path: Path):
    trees = await described(
        tmp_path, "budget_forcing", n=1, min_thinking_tokens=5, max_thinking_tokens=12, wait="Wait"
    )
    tree, result = trees[0]
    (solution,) = result.solutions
    node = next(node for node in tree.nodes if node.path == solution.path)
    pieces: list = []
    while True:
        pieces = [*node.pieces, *pieces]
        if node.above < 0:
            break
        node = tree.nodes[node.above]
    given = [piece.text for piece in pieces if piece.sort == "given"]
    assert "Wait" in given
    thought = "".join(piece.text for piece in pieces if piece.sort == "thinking")
    assert thought
    after = "".join(piece.text for piece in pieces if piece.sort == "").replace(EOS, "")
    assert after
    assert solution.text.rpartition(MARKER)[2].endswith(after)


class Bytes(Characters):
    """A tokenizer with one token a byte."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [*text.encode()]}

    def decode(
        self, ids: list[int], skip_special_tokens: bool, clean_up_tokenization_spaces: bool = False
    ) -> str:
        text = bytes(ids).decode(errors="replace")
        return text.replace(EOS, "") if skip_special_tokens else text


async def test_a_character_that_begins_in_one_step_and_ends_in_the_next_is_whole(tmp_path: Path):
    smile = "🙂".encode()

    def write(request, text, rng) -> str:
        cut = "".join(map(chr, smile[:2])), "".join(map(chr, smile[2:])) + EOS
        return cut["\xf0" in text]

    engine = ScriptedEngine(write, lambda text: 0.5)
    ((tree, _),) = await described(
        tmp_path,
        "beam_search",
        engine,
        n=1,
        width=1,
        codec=Codec(Bytes(), "\n"),
        problems=PROBLEMS[:1],
    )
    assert len(tree.nodes) == 2
    assert "".join(text(node) for node in tree.nodes).replace(EOS, "") == "🙂"
