"""A verifier to train: the layers of a causal language model, and one logit a token.

It is the stock ``*ForTokenClassification`` of Transformers with one label, whose sigmoid is the score: vLLM
serves it for every decoder it knows (``as_seq_cls_model``), and the cost model charges it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer
from transformers.utils import logging

from orchestrator.budget.flops import MODEL_TYPES, CostModel
from orchestrator.errors import BadInput, one_of

_WRITERS = ("embed_tokens.weight", "o_proj.weight", "o_proj.bias", "down_proj.weight", "down_proj.bias")
"""What adds to the residual stream, in the families of ``flops.MODEL_TYPES``."""


def new_verifier(
    backbone: str,
    examples: Sequence[Tensor],
    *,
    extra_layers: int = 0,
    freeze: int | None = 0,
    dropout: float = 0.0,
    seed: int = 0,
) -> Any:
    """The language model in directory (or of hub id) ``backbone`` as a verifier that is not trained yet; or
    the verifier there, to be trained further (its head is kept, and no layers are added).

    ``extra_layers`` new layers of its kind come on top. ``freeze`` fixes the embedding and so many of its own
    layers, None all of them: new layers over fixed ones learn where fine-tuning a small model forgets what
    it knew. ``dropout`` is before the head. ``examples`` are some inputs (int64[length]).

    The stream of activations that a language model hands from layer to layer can be far larger than what a
    new layer adds to it, which so would hardly count. Every layer of the families of ``flops.MODEL_TYPES``,
    which alone can be given new ones, reads the stream through an RMS norm;
    so, under new layers, it is divided by a power of two (about its root mean square) without changing what
    the old layers compute: whatever writes to it is divided, and the norms' epsilon with it, squared.

    Raises BadInput that names ``--backbone``, ``--freeze`` or ``--extra-layers``.
    """
    trained = CostModel.from_pretrained(backbone, key="--backbone").reward
    if trained and extra_layers:
        raise BadInput("--extra-layers", extra_layers, "allowed: 0 where the backbone is a verifier already")
    logging.set_verbosity_error()  # that the head is new is no news
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(backbone).get_text_config(decoder=True)
    if type(config) not in AutoModelForTokenClassification._model_mapping:
        needed = "needed: a family that Transformers has a ForTokenClassification of"
        raise BadInput("--backbone", backbone, f"{needed}, which {config.model_type} is not")
    if extra_layers and config.model_type not in MODEL_TYPES:
        raise BadInput(
            "--extra-layers", extra_layers, f"allowed: 0, or a backbone that is {one_of(MODEL_TYPES)}"
        )
    own = config.num_hidden_layers
    if freeze is not None and not 0 <= freeze <= own:
        raise BadInput("--freeze", freeze, f"allowed: 0 to {own}, or all")
    model = (
        load_verifier(Path(backbone), classifier_dropout=dropout)
        if trained
        else _headed(backbone, config, examples, extra_layers, dropout, seed)
    )
    fixed = own if freeze is None else freeze
    if fixed:
        model.get_input_embeddings().requires_grad_(False)
    for layer in _layers(model)[:fixed]:
        layer.requires_grad_(False)
    return model


def _headed(
    backbone: str, config: Any, examples: Sequence[Tensor], extra_layers: int, dropout: float, seed: int
) -> Any:
    """The layers of ``backbone``, new layers and a new head."""
    body = AutoModel.from_pretrained(backbone, dtype=torch.float32)
    config.num_labels, config.classifier_dropout, config.dtype = 1, dropout, "float32"
    torch.manual_seed(seed)
    if extra_layers:
        weights = _divided(body, config, 2.0 ** round(math.log2(_stream_rms(body, examples))))
        weights = {name: weight for name, weight in weights.items() if not name.startswith("norm.")}
        _deepen(config, extra_layers)
    else:
        weights = body.state_dict()
    model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32)
    if not hasattr(model, "score"):
        raise BadInput(
            "--backbone", backbone, "needed: a family whose verifiers vLLM serves (head in `score`)"
        )
    model.base_model.load_state_dict(weights, strict=False)
    return model


def scores(model: Any, tokens: Tensor) -> Tensor:
    """The score of every position, in [0, 1]: float32[n, length] of int64[n, length].

    Sequences may be padded at their end with anything: attention is causal, so no score before it changes.
    """
    return logits(model, tokens).float().sigmoid()


def logits(model: Any, tokens: Tensor) -> Tensor:
    """What ``scores`` is the sigmoid of."""
    return model(input_ids=tokens, use_cache=False).logits[..., 0]


def save_verifier(model: Any, directory: Path, backbone: str) -> None:
    """Write a stock Hugging Face directory with the backbone's tokenizer."""
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(backbone).save_pretrained(directory)


def load_verifier(directory: Path, **changes: Any) -> Any:
    """Read what ``save_verifier`` wrote, its configuration with ``changes``. Raises BadInput if it is not
    there."""
    CostModel.from_pretrained(str(directory), key="verifier.model")
    config = AutoConfig.from_pretrained(directory, **changes)
    if (
        not str((config.architectures or [None])[0]).endswith("ForTokenClassification")
        or config.num_labels != 1
    ):
        raise BadInput("verifier.model", str(directory), "allowed: a verifier that ttc verifier train wrote")
    model = AutoModelForTokenClassification.from_pretrained(directory, config=config, dtype=torch.float32)
    return model.eval()


def _layers(model: Any) -> Any:
    """Its layers in their order, whatever their family calls them."""
    count = model.config.num_hidden_layers
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count)


def _deepen(config: Any, extra_layers: int) -> None:
    config.num_hidden_layers += extra_layers
    if getattr(config, "layer_types", None):
        config.layer_types = [*config.layer_types, *config.layer_types[-1:] * extra_layers]
    config.initializer_range = config.hidden_size**-0.5


def _stream_rms(body: Any, examples: Sequence[Tensor]) -> float:
    """Root mean square of what the last layer hands on, before the last norm."""
    kept: list[Tensor] = []
    hook = body.norm.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].flatten()))
    with torch.inference_mode():
        for tokens in examples:
            body(input_ids=tokens[None], use_cache=False)
    hook.remove()
    return float(torch.cat(kept).pow(2).mean().sqrt())


def _divided(body: Any, config: Any, scale: float) -> dict[str, Tensor]:
    """The weights with the stream divided by ``scale``."""
    config.rms_norm_eps /= scale**2
    return {n: w / scale if n.endswith(_WRITERS) else w for n, w in body.state_dict().items()}
