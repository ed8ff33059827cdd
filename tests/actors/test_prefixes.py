from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.prefixes import Prefixes
from orchestrator.formats.texts import shared_length

texts = st.lists(st.integers(1, 3), max_size=6)
blocks = st.integers(1, 5)
steps = st.lists(
    st.one_of(st.tuples(blocks, st.sampled_from(["a", None]), texts), blocks, st.none()), max_size=30
)


@given(steps, texts)
def test_the_longest_shared_prefix_is_found_after_any_changes(changes, wanted) -> None:
    prefixes, model = Prefixes(), {}
    for change in changes:
        if change is None:
            prefixes.clear()
            model.clear()
        elif isinstance(change, int):
            prefixes.drop(change)
            model.pop(change, None)
        else:
            block, parent, tokens = change
            prefixes.add(block, parent, tokens)
            model[block] = (parent, tokens)
    assert len(prefixes) == len(model)
    for parent in ("a", None, "b"):
        shared = {block: shared_length(tokens, wanted) for block, (p, tokens) in model.items() if p == parent}
        found, length = prefixes.longest(parent, wanted)
        assert length == max(shared.values(), default=0)
        assert not length or shared[found] == length
    for block in [*model]:
        prefixes.drop(block)
    assert vars(prefixes) == vars(Prefixes())  # nothing is left of what was dropped
