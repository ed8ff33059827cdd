"""``ttc`` with replicas that have no engine: ``python -m tests.support.without_engines run CONFIG …``"""

from __future__ import annotations

from orchestrator.commands.cli import main
from orchestrator.runs import session
from tests.support.lab_engine import LabReplica

if __name__ == "__main__":
    session.GeneratorActor = session.VerifierActor = LabReplica  # type: ignore[assignment,misc]
    main()
