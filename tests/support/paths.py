"""Where the project's own files are."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONFIGS = ROOT / "configs"
LAB_CONFIG = CONFIGS / "lab.yaml"
OWN_STRATEGY = CONFIGS / "own_strategy.py"
