"""FLOPs of a forward pass, counted by running one, for families without a closed form in `flops`.

Transformers builds the model without weights (on the meta device) and `torch.utils.flop_counter` counts its
forward passes of a few lengths n. For a decoder the counts are exactly a·n + b·n²: the matrices cost a per
position, and all layers together cost b per pair of positions. The counter sees the masked half of the pairs
too; `CostModel` charges the causal half only. In a mixture, the experts that a token is routed to count.

Models with recurrent layers (Mamba, linear attention) do not fit this and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadInput, in_one_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_LENGTHS = (8, 16, 24, 40)  # the first two give a and b; the others check them
_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layer that can be charged. A chunk is charged like the whole context: an upper bound."""


@dataclass(frozen=True)
class Body:
    """A decoder without its head. Fields that `CostModel` has too mean the same."""

    position_flops: int
    pair_flops: int
    full_layers: int
    window_layers: int
    window: int
    parameters: int
    embedding_parameters: int
    width: int
    vocabulary: int
    settings: Mapping[str, Any]
    """The configuration of the text model, with the defaults of its family."""


def count_body(config: Mapping[str, Any]) -> Body:
    """Counts the decoder that ``config`` (the content of a `config.json`) describes.

    Raises BadInput if Transformers does not have the ``model_type`` (code that comes with a model is not run)
    or cannot build it, or if its FLOPs are not a·n + b·n².
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    kind = config.get("model_type")
    logging.set_verbosity_error()
    try:
        whole = AutoConfig.for_model(str(kind), **{k: v for k, v in config.items() if k != "model_type"})
        text = whole.get_text_config(decoder=True)
        with torch.device("meta"):
            body = AutoModel.from_config(
                text, attn_implementation="eager", experts_implementation="batched_mm"
            ).eval()
        counts = {n: _forward(body, n) for n in _LENGTHS}
    except Exception as error:  # a family's code may raise anything about a config that it cannot use
        why = in_one_line(error)
        raise BadInput("model_type", kind, f"needed: a decoder that Transformers can build ({why})") from None
    first, second = _LENGTHS[:2]
    pairs, rest = divmod(counts[second] * first - counts[first] * second, first * second * (second - first))
    position = counts[first] // first - pairs * first
    types = getattr(text, "layer_types", None) or []
    if rest or not set(types) <= _LAYERS or any(position * n + pairs * n * n != c for n, c in counts.items()):
        raise BadInput("model_type", kind, "needed: a decoder with attention in every layer")
    window_layers, window = _windows(text, types)
    layers = len(types) if window_layers else 1  # without windows, all layers count as one
    if pairs % layers:
        raise BadInput("layer_types", types, "needed: layers with windows that cost what the others do")
    return Body(
        position_flops=position,
        pair_flops=pairs // layers,
        full_layers=layers - window_layers,
        window_layers=window_layers,
        window=window,
        parameters=sum(p.numel() for p in body.parameters()),
        embedding_parameters=body.get_input_embeddings().weight.numel(),
        width=text.hidden_size,
        vocabulary=text.vocab_size,
        settings={**text.to_dict(), "architectures": config.get("architectures")},
    )


def _windows(text: PretrainedConfig, types: list[str]) -> tuple[int, int]:
    """Returns (layers with a sliding window, the window). Without a list of layers the window is ignored, and
    the charge is an upper bound."""
    count, window = types.count("sliding_attention"), getattr(text, "sliding_window", None)
    return (count, window) if count and window else (0, 0)


def _forward(body: Any, n: int) -> int:
    """Returns the FLOPs of one pass over ``n`` positions, with all n² pairs."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    ids = torch.zeros(1, n, dtype=torch.long, device="meta")
    # With a full mask given, a family builds none. To build one, most families read values, which meta
    # tensors do not have. The few that refuse a full mask (OPT, BLOOM) read no values.
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            body(input_ids=ids, attention_mask=torch.zeros(1, 1, n, n, device="meta"), use_cache=False)
    except ValueError:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            body(input_ids=ids, use_cache=False)
    return counter.get_total_flops()
