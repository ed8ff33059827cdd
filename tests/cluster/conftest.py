"""What the tests of this room share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def ray_directory() -> Iterator[str]:
    """Short, since the paths of Ray's sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="ttc-", dir="/tmp") as directory:
        yield directory
