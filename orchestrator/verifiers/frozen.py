"""The layers that a training leaves as they are, computed once for each of its inputs."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from orchestrator.budget.flops import MODEL_TYPES


def frozen_layers(model: Any) -> int:
    """Returns how many of a verifier's first layers are not trained, its embedding included: 0 where that is.

    It is 0, too, for a family whose layers are not known to take another's output as their input alone.
    """
    config = model.config
    if config.model_type not in MODEL_TYPES or len(set(getattr(config, "layer_types", None) or [""])) > 1:
        return 0
    if any(parameter.requires_grad for parameter in model.get_input_embeddings().parameters()):
        return 0
    layers = model.base_model.layers
    trained = (i for i, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters()))
    return next(trained, len(layers))


def frozen_part(model: Any) -> Any:
    """Returns the frozen layers of a verifier, which share its weights: their ``last_hidden_state`` is what
    the other layers read."""
    part = _with_layers(model.base_model, model.base_model.layers[: frozen_layers(model)])
    part.norm = nn.Identity()  # it belongs to what is trained
    return part


def trained_part(model: Any) -> Any:
    """Returns the verifier without its frozen layers: it shares the model's weights, and its inputs are what
    those found, as ``inputs_embeds``."""
    part = _shallow(model)
    layers = model.base_model.layers[frozen_layers(model) :]
    numbered = nn.ModuleList(_numbered(layer, index) for index, layer in enumerate(layers))
    setattr(part, model.base_model_prefix, _with_layers(model.base_model, numbered))
    return part


def _with_layers(base: Any, layers: nn.ModuleList) -> Any:
    part = _shallow(base)
    part.layers = layers
    return part


def _numbered(layer: Any, index: int) -> Any:
    """Returns the layer with another number, by which it has its place in a cache."""
    part = _shallow(layer)
    part.self_attn = _shallow(layer.self_attn)
    part.self_attn.layer_idx = index
    return part


def _shallow(module: Any) -> Any:
    """Returns a copy whose parts can be replaced: its weights are the module's own."""
    part = copy.copy(module)
    part._modules = dict(module._modules)
    return part
