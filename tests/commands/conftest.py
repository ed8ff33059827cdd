from __future__ import annotations

import pytest


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test in which Ray is started, or joined."""

    def started(*arguments: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr("orchestrator.runs.session.connect", started)
