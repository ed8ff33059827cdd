"""Writes a verifier with a value head as token classification with one label, which vLLM serves.

The numbers stay the same: a value head is one linear layer on the last states, as the classification head is.
"""

from __future__ import annotations

import json
import shutil
from os.path import expanduser
from pathlib import Path
from typing import Any

from orchestrator.budget.flops import read_config
from orchestrator.durability.files import write_atomically
from orchestrator.errors import BadInput
from orchestrator.formats.registry import MARK, VALUE_HEADS

HEADS = ("v_head.summary", "v_head", "value_head.summary", "value_head")
"""Names that publishers give the linear layer of a value head."""
WRAPPER = "pretrained_model."
"""Prefix of the language model's weights where a wrapper was saved."""


def convert(model: str, out: Path) -> None:
    """Writes the converted model, with its tokenizer, to the directory ``out``.

    Raises BadInput where the model has no value head, is not on this machine, or ``out`` exists.
    """
    from safetensors.torch import load_file, save_file

    config = read_config(model, "MODEL")
    (architecture, *_) = config.get("architectures") or ["none"]
    if architecture not in VALUE_HEADS:
        raise BadInput("MODEL", model, f"needed: a model with a value head ({', '.join(VALUE_HEADS)})")
    if out.exists():
        raise BadInput("OUT", str(out), "needed: a directory that does not exist yet")
    directory = _directory(model)
    weights: dict[str, Any] = {}
    for file in sorted(directory.glob("*.safetensors")):
        weights |= load_file(file)
    if not weights:
        for file in sorted(directory.glob("*.bin")):
            import torch

            weights |= torch.load(file, map_location="cpu", weights_only=True)
    if not weights:
        raise BadInput("MODEL", model, "its directory holds no weights (*.safetensors or *.bin)")
    weights = {name.removeprefix(WRAPPER): weight for name, weight in weights.items()}
    head = next((name for name in HEADS if f"{name}.weight" in weights), None)
    if head is None:
        raise BadInput("MODEL", model, f"its weights have no value head; known names: {', '.join(HEADS)}")
    kept = {name: w for name, w in weights.items() if not name.startswith(("lm_head.", f"{head}."))}
    kept["score.weight"] = weights[f"{head}.weight"].contiguous()
    if f"{head}.bias" in weights:
        kept["score.bias"] = weights[f"{head}.bias"]
    changes = {
        "architectures": [architecture.replace("ForPrmModel", "ForTokenClassification")],
        "id2label": {"0": "score"},
        "label2id": {"score": 0},
        "tie_word_embeddings": False,
        MARK: "skywork",
    }
    config = {key: value for key, value in config.items() if key not in ("auto_map", "num_labels")} | changes
    out.mkdir(parents=True)
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})
    for file in directory.iterdir():
        if file.suffix in (".json", ".txt", ".model", ".jinja") and not file.name.endswith(".index.json"):
            shutil.copy(file, out / file.name)
    write_atomically(out / "config.json", json.dumps(config, indent=2) + "\n")


def _directory(model: str) -> Path:
    directory = Path(expanduser(model))
    if directory.is_dir():
        return directory
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model))
