"""Builds verifiers: the layers of a causal language model with one logit a token.

A verifier is the stock ``*ForTokenClassification`` of Transformers with one label; its sigmoid is the score.
vLLM serves it for every decoder it knows (``as_seq_cls_model``), and the cost model charges it.
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
"""The weights whose outputs add to the residual stream, in the families of ``flops.MODEL_TYPES``."""


def new_verifier(
    backbone: str,
    examples: Sequence[Tensor],
    *,
    extra_layers: int = 0,
    freeze: int | None = 0,
    dropout: float = 0.0,
    seed: int = 0,
) -> Any:
    """Returns an untrained verifier over the language model ``backbone`` (a directory or a hub id).

    If ``backbone`` is a verifier, it is returned with its head, to be trained further. ``extra_layers`` new
    layers come on top of a language model's. ``freeze`` fixes the embedding and so many of the backbone's
    layers, None all of them: new layers over fixed ones learn where a small model that is fine-tuned forgets.
    ``dropout`` is before the head. ``examples`` are some inputs (int64[length]).

    Under new layers the residual stream is divided by a power of two, about its root mean square: it can be
    so large that what a new layer adds would hardly count. The old layers compute the same, since all of them
    read the stream through an RMS norm (in the families of ``flops.MODEL_TYPES``, the only ones that take new
    layers): the weights that write to the stream are divided, and the norms' epsilon by the square.

    Raises ``BadInput`` that names ``--backbone``, ``--freeze`` or ``--extra-layers``.
    """
    trained = CostModel.from_pretrained(backbone, key="--backbone").reward
    if trained and extra_layers:
        raise BadInput("--extra-layers", extra_layers, "allowed: 0 where the backbone is a verifier already")
    logging.set_verbosity_error()  # it would warn that the head is new
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(backbone).get_text_config(decoder=True)
    if type(config) not in AutoModelForTokenClassification._model_mapping:
        needed = "needed: a family that Transformers has a ForTokenClassification of"
        raise BadInput("--backbone", backbone, f"{needed}, which {config.model_type} is not")
    if extra_layers and config.model_type not in MODEL_TYPES:
        raise BadInput(
            "--extra-layers", extra_layers, f"allowed: 0, or a backbone that is {one_of(MODEL_TYPES)}"
        )
    layers = config.num_hidden_layers
    if freeze is not None and not 0 <= freeze <= layers:
        raise BadInput("--freeze", freeze, f"allowed: 0 to {layers}, or all")
    model = (
        load_verifier(Path(backbone), classifier_dropout=dropout)
        if trained
        else _headed(backbone, config, examples, extra_layers, dropout, seed)
    )
    fixed = layers if freeze is None else freeze
    if fixed:
        model.get_input_embeddings().requires_grad_(False)
    for layer in _layers(model)[:fixed]:
        layer.requires_grad_(False)
    return model


def _headed(
    backbone: str, config: Any, examples: Sequence[Tensor], extra_layers: int, dropout: float, seed: int
) -> Any:
    """Returns the layers of ``backbone`` with new layers and a new head."""
    body = AutoModel.from_pretrained(backbone, dtype=torch.float32)
    config.num_labels, config.classifier_dropout, config.dtype = 1, dropout, "float32"
    torch.manual_seed(seed)
    if extra_layers:
        weights = _divided(body, config, 2.0 ** round(math.log2(_stream_rms(body, examples))))
        weights = {name: weight for name, weight in weights.items() if not name.startswith("norm.")}
        _deepen(config, extra_layers)
    else:
        weights = body.state_dict()
    model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32, **_attention(config))
    if not hasattr(model, "score"):
        raise BadInput(
            "--backbone", backbone, "needed: a family whose verifiers vLLM serves (head in `score`)"
        )
    model.base_model.load_state_dict(weights, strict=False)
    return model


def scores(model: Any, tokens: Tensor) -> Tensor:
    """Returns the score in [0, 1] of every position: float32[n, length] of int64[n, length].

    Sequences may be padded at their end with any token: attention is causal.
    """
    return logits(model, input_ids=tokens).float().sigmoid()


def logits(model: Any, **read: Any) -> Tensor:
    """Returns the logit of every position, [n, length]; ``read`` is what the model itself is called with."""
    return model(**read, use_cache=False).logits[..., 0]


def save_verifier(model: Any, directory: Path, backbone: str) -> None:
    """Writes a stock Hugging Face directory with the backbone's tokenizer."""
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(backbone).save_pretrained(directory)


def load_verifier(directory: Path, **changes: Any) -> Any:
    """Reads a verifier that ``save_verifier`` wrote, with ``changes`` to its configuration.

    Raises ``BadInput`` if there is none.
    """
    CostModel.from_pretrained(str(directory), key="verifier.model")
    config = AutoConfig.from_pretrained(directory, **changes)
    if (
        not str((config.architectures or [None])[0]).endswith("ForTokenClassification")
        or config.num_labels != 1
    ):
        raise BadInput("verifier.model", str(directory), "allowed: a verifier that ttc verifier train wrote")
    model = AutoModelForTokenClassification.from_pretrained(
        directory, config=config, dtype=torch.float32, **_attention(config)
    )
    return model.eval()


def _attention(config: Any) -> dict[str, str]:
    """Returns what makes Transformers compute attention as vLLM serves it: by itself it leaves the cap on the
    logits of Gemma 2's out."""
    return {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", None) else {}


def _layers(model: Any) -> Any:
    """Returns the layers in their order; families have different names for them."""
    count = model.config.num_hidden_layers
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count)


def _deepen(config: Any, extra_layers: int) -> None:
    config.num_hidden_layers += extra_layers
    if getattr(config, "layer_types", None):
        config.layer_types = [*config.layer_types, *config.layer_types[-1:] * extra_layers]
    config.initializer_range = config.hidden_size**-0.5


def _stream_rms(body: Any, examples: Sequence[Tensor]) -> float:
    """Returns the root mean square of the residual stream before the last norm."""
    kept: list[Tensor] = []
    hook = body.norm.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].flatten()))
    with torch.inference_mode():
        for tokens in examples:
            body(input_ids=tokens[None], use_cache=False)
    hook.remove()
    return float(torch.cat(kept).pow(2).mean().sqrt())


def _divided(body: Any, config: Any, scale: float) -> dict[str, Tensor]:
    """Returns the weights with the residual stream divided by ``scale``."""
    config.rms_norm_eps /= scale**2
    return {n: w / scale if n.endswith(_WRITERS) else w for n, w in body.state_dict().items()}
