"""A model is loaded from where it is, and no more of it than that."""

from __future__ import annotations

from typing import Any

from tests.support.calls import info_once_up
from tests.support.shared_engines import SharedEngines


def test_replicas_that_start_together_download_a_models_files_once_a_node(
    engines: SharedEngines, generator: Any, other: Any
) -> None:
    """That they sample the same as one whose model is a directory: test_block_reuse, against ``by_block``."""
    for replica in (generator, other):
        info_once_up(replica)
    assert engines.hub is not None
    assert engines.hub.downloads["model.safetensors"] == 1
    assert set(engines.hub.downloads.values()) == {1}
