"""FLOPs of a forward pass by counting one: for the families that `flops` has no closed form of.

Transformers builds the model without weights (the meta device) and `torch.utils.flop_counter` counts its
forward passes of a few lengths. In a decoder they are a·n + b·n² to the last FLOP: a is what the matrices
cost a position, b what all layers pay for a pair of positions (the whole square is counted, the masked half
too: `CostModel` adds the causal half by itself). Of a mixture, the experts that a token goes to are counted.

Layers with a recurrent state (Mamba, linear attention) are neither, and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_LENGTHS = (8, 16, 24, 40)  # two give a and b; that they hold at the others is checked
_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
"""What layers may be. A chunk is charged as the whole context is: too much, if anything."""


@dataclass(frozen=True)
class Body:
    """A decoder without its head. The fields are `CostModel`'s of the same name."""

    position_flops: int
    pair_flops: int
    full_layers: int
    window_layers: int
    window: int
    parameters: int
    embedding_parameters: int
    width: int
    vocabulary: int
    settings: Mapping[str, Any]  # of its text model, with the defaults of its family


def count_body(config: Mapping[str, Any]) -> Body:
    """Count the decoder that ``config`` (a `config.json`) describes.

    `BadInput` if Transformers has no such ``model_type`` (code that comes with a model is not run), cannot
    build it, or if its cost is not that of attention and matrices.
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
    except Exception as error:  # whatever a family's own code raises about a config that it cannot use
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BadInput("model_type", kind, f"needed: a decoder that Transformers can build ({why})") from None
    first, second = _LENGTHS[:2]
    pairs, rest = divmod(counts[second] * first - counts[first] * second, first * second * (second - first))
    position = counts[first] // first - pairs * first
    types = getattr(text, "layer_types", None) or []
    if rest or not set(types) <= _LAYERS or any(position * n + pairs * n * n != c for n, c in counts.items()):
        raise BadInput("model_type", kind, "needed: a decoder with attention in every layer")
    window_layers, window = _windows(text, types)
    layers = len(types) if window_layers else 1  # without windows, all layers are as one
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
    """(layers with a sliding window, the window). A window that no list of layers places is not counted: the
    charge is then an upper bound."""
    count, window = types.count("sliding_attention"), getattr(text, "sliding_window", None)
    return (count, window) if count and window else (0, 0)


def _forward(body: Any, n: int) -> int:
    """FLOPs of one pass over ``n`` positions, all pairs of them counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    ids = torch.zeros(1, n, dtype=torch.long, device="meta")
    # A mask that is given whole is taken as it is; to make one, most families look at values, which a meta
    # tensor has not. The few that only make their own (OPT, BLOOM) do not look.
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            body(input_ids=ids, attention_mask=torch.zeros(1, 1, n, n, device="meta"), use_cache=False)
    except ValueError:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            body(input_ids=ids, use_cache=False)
    return counter.get_total_flops()
