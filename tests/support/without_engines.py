"""``ttc`` with replicas that have no engine: ``python -m tests.support.without_engines run CONFIG …``"""

from __future__ import annotations

import os

from orchestrator.commands.cli import main
from orchestrator.runs import session
from tests.support.lab_engine import LabReplica, SlowReplica

SLOW = "TTC_TEST_SLOW"
"""Where it is set, an answer takes a moment."""

if __name__ == "__main__":
    replica = SlowReplica if SLOW in os.environ else LabReplica
    session.GeneratorActor = session.VerifierActor = replica  # type: ignore[assignment,misc]
    main()
