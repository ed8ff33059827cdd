"""FLOPs of one model's forward pass, from its Hugging Face config.

One multiply-add is 2 FLOPs and only matrix products count, as in `torch.utils.flop_counter`: norms, softmax,
activations, rotary angles and the embedding look-up do not. All numbers are exact Python ints, so a ledger
adds and compares them without rounding.

Per position p, with L layers, width d, H query heads and K key/value heads of size h, MLP width f and
vocabulary V (Kaplan et al. 2020, table 1, with grouped queries, a gated MLP and an exact causal count):

    matrices    2 · L · (2·d·H·h + 2·d·K·h + 3·d·f)     that is 2 · N_non-embedding
    attention   4 · L · H·h · keys(p)                   QKᵀ and AV; keys(p) = p + 1, or the sliding window
    head        2 · d · V                               tied or not; a reward head costs its own matrices

Other decoders of Transformers, mixtures of experts among them, are counted by running one without weights
(`flops_counted`), to the same convention.

The common form, 2·(N_non-embedding + L·ctx·d_attn) + 2·d·V with d_attn = H·h, is the mean of this over the
positions of a sequence of length ctx. The token *at* position ctx costs twice that attention term.

The charge is logical, that is, independent of caches: every position of the prompt and of each tree edge,
once. The last token of a leaf is charged through the layers too, though no engine needs to run it: an edge
costs the same whether or not the search continues from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os.path import expanduser, isdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadInput, in_one_line, one_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

HUB_SECONDS = 5.0
"""Seconds that are waited for the hub's answer."""
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
"""The families that are counted in closed form: dense, grouped-query attention, a gated MLP."""
FIXED_LABELS = {"Qwen2ForProcessRewardModel": 2, "Qwen2ForRewardModel": 1}
"""Labels of the heads that do not follow their configuration."""
_LANGUAGE_HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_DIRECT_HEADS = ("ForTokenClassification", "ForSequenceClassification")


@dataclass(frozen=True)
class CostModel:
    """Converts counts of tokens to FLOPs. Build it with `from_pretrained`."""

    position_flops: int
    """FLOPs of the matrices of all layers, for one position."""
    pair_flops: int
    """FLOPs of one query that attends to one key in one layer, 4 · H·h. A counted model without windows has
    all its layers in one."""
    head_flops: int
    """FLOPs of the language or reward head, for one position."""
    full_layers: int
    """Layers that attend to every earlier position."""
    window_layers: int
    """Layers that attend to the last `window` positions, the present one included."""
    window: int
    """Positions; 0 if no layer has a window."""
    n_parameters: int
    """All weights: embedding, layers, norms, and the head (once if tied)."""
    non_embedding_parameters: int
    """The weights of layers and norms: Kaplan's N."""
    reward: bool
    """The head scores and does not predict tokens."""

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        *,
        key: str = "model",
        revision: str | None = None,
        choices: int = 0,
        overrides: Mapping[str, Any] | None = None,
    ) -> CostModel:
        """Reads `config.json` of a local directory, or of a hub id at a revision, with `overrides`.

        With `choices`, only so many rows of a causal language model's head are computed at each token. Raises
        BadInput, which calls the model `key`.
        """
        config = read_config(model, key, revision, overrides)
        if choices:
            config = _of_choices(config, choices, model, key)
        try:
            return cls.from_config(config)
        except BadInput as error:
            raise BadInput(error.key, error.value, f"{error.allowed} (config.json of {model})") from None

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | PretrainedConfig) -> CostModel:
        """Reads the content of a `config.json`. Raises BadInput if its family, a size or its head cannot be
        charged."""
        c: dict[str, Any] = dict(config) if isinstance(config, Mapping) else config.to_dict()
        return cls._in_closed_form(c) if c.get("model_type") in MODEL_TYPES else cls._counted(c)

    @classmethod
    def _counted(cls, c: dict[str, Any]) -> CostModel:
        from orchestrator.budget.flops_counted import count_body

        body = count_body(c)
        head_matrices, head_parameters = _head(body.settings, body.width, body.vocabulary)
        return cls(
            position_flops=body.position_flops,
            pair_flops=body.pair_flops,
            head_flops=2 * head_matrices,
            full_layers=body.full_layers,
            window_layers=body.window_layers,
            window=body.window,
            n_parameters=body.parameters + head_parameters,
            non_embedding_parameters=body.parameters - body.embedding_parameters,
            reward=not predicts(c["architectures"][0]),
        )

    @classmethod
    def _in_closed_form(cls, c: dict[str, Any]) -> CostModel:
        kind = c["model_type"]
        layers, d, f = (_size(c, k) for k in ("num_hidden_layers", "hidden_size", "intermediate_size"))
        heads, vocab = _size(c, "num_attention_heads"), _size(c, "vocab_size")
        default_heads = heads if kind == "llama" or "num_key_value_heads" in c else None
        kv_heads = _size(c, "num_key_value_heads", default_heads)
        head_dim = _size(c, "head_dim", 128 if kind == "qwen3" else d // heads)
        q, kv = heads * head_dim, kv_heads * head_dim
        window_layers, window = _sliding(c, layers)

        matrices = 2 * d * q + 2 * d * kv + 3 * d * f
        vectors = 2 * d  # two norms
        if kind == "qwen2":
            vectors += q + 2 * kv
        elif kind in ("llama", "qwen3") and c.get("attention_bias"):
            vectors += q + 2 * kv + d
        if kind == "qwen3":
            vectors += 2 * head_dim  # norms of queries and keys
        if kind == "llama" and c.get("mlp_bias"):
            vectors += 2 * f + d
        body = layers * (matrices + vectors) + d  # and the last norm
        head_matrices, head_parameters = _head(c, d, vocab)

        return cls(
            position_flops=2 * layers * matrices,
            pair_flops=4 * q,
            head_flops=2 * head_matrices,
            full_layers=layers - window_layers,
            window_layers=window_layers,
            window=window,
            n_parameters=vocab * d + body + head_parameters,
            non_embedding_parameters=body,
            reward=not predicts(c["architectures"][0]),
        )

    @classmethod
    def free(cls) -> CostModel:
        """Returns the costs of what runs no model."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0, True)

    def body(self, start: int, end: int) -> int:
        """Returns the FLOPs of positions start … end-1 in all layers, without the head."""
        if not 0 <= start <= end:
            raise ValueError(f"positions {start}..{end}: need 0 <= start <= end")
        # Σ_{start<=p<end} p+1 in each layer that attends to every earlier position.
        pairs = self.full_layers * ((end - start) * (start + end + 1) // 2)
        if self.window_layers:
            pairs += self.window_layers * (_keys(end, self.window) - _keys(start, self.window))
        return self.position_flops * (end - start) + self.pair_flops * pairs

    def head(self, tokens: int) -> int:
        """Returns the FLOPs of the head on `tokens` positions."""
        if tokens < 0:
            raise ValueError(f"tokens {tokens}: need 0 or more")
        return self.head_flops * tokens

    def prefill(self, tokens: int) -> int:
        """Returns the FLOPs of a prompt of `tokens`, charged once a problem. Its last logits belong to the
        first edge."""
        return self.body(0, tokens)

    def sample(self, context: int, new: int) -> int:
        """Returns the FLOPs of one tree edge: `new` tokens decoded after `context` tokens, head on each."""
        return self.body(context, context + new) + self.head(new)

    def score(self, context: int, end: int) -> int:
        """Returns the FLOPs of a verifier that reads its new tokens context … end-1, head on each."""
        return self.body(context, end) + self.head(end - context)


def _keys(n: int, window: int) -> int:
    """Returns Σ_{p<n} min(p+1, window), the number of keys that the first n positions attend to."""
    m = min(n, window)
    return m * (m + 1) // 2 + (n - m) * window


def predicts(architecture: str) -> bool:
    """Tells whether an architecture's head predicts tokens."""
    return architecture.endswith(_LANGUAGE_HEADS)


def _of_choices(config: dict[str, Any], choices: int, model: str, key: str) -> dict[str, Any]:
    """The configuration of a language model whose head has only the rows of `choices` tokens."""
    (name, *_) = config.get("architectures") or [""]
    if not predicts(name):
        needed = f"needed: a causal language model, whose next token is read ({model} is {name or 'none'})"
        raise BadInput(key, model, needed)
    family = next(name.removesuffix(head) for head in _LANGUAGE_HEADS if name.endswith(head))
    head = {"architectures": [f"{family}ForSequenceClassification"], "num_labels": choices, "id2label": None}
    return config | head


def _head(c: Mapping[str, Any], d: int, vocab: int) -> tuple[int, int]:
    """Returns (weights that one position multiplies, parameters beyond the embedding) of the head."""
    named = c.get("architectures")
    name = str(named[0]) if isinstance(named, list | tuple) and named else None
    if name and predicts(name):
        return d * vocab, 0 if c.get("tie_word_embeddings") else d * vocab
    if name in FIXED_LABELS:  # Linear(d, d), ReLU, Linear(d, labels), both with a bias
        labels = FIXED_LABELS[name]
        return d * d + d * labels, d * d + d + d * labels + labels
    if name and name.endswith(_DIRECT_HEADS):
        labels = len(c["id2label"]) if c.get("id2label") else _size(c, "num_labels", 2)
        return d * labels, d * labels + (labels if name.endswith(_DIRECT_HEADS[0]) else 0)
    heads = [
        *("*" + head for head in _LANGUAGE_HEADS),
        *("*" + head for head in _DIRECT_HEADS),
        *FIXED_LABELS,
    ]
    raise BadInput("architectures", named, one_of(heads))


def _sliding(c: Mapping[str, Any], layers: int) -> tuple[int, int]:
    """Returns (layers with a sliding window, the window), by the rules of Transformers' config classes."""
    kind = c["model_type"]
    if kind == "mistral":  # every layer; 4096 unless told, null is none
        if c.get("sliding_window", 4096) is None:
            return 0, 0
        return layers, _size(c, "sliding_window", 4096)
    if kind == "llama" or not c.get("use_sliding_window") or c.get("sliding_window", 4096) is None:
        return 0, 0
    types = c.get("layer_types")
    if types is None:
        count = max(0, layers - _size(c, "max_window_layers", 28, least=0))
    else:
        allowed = ("full_attention", "sliding_attention")
        if len(types) != layers or not set(types) <= set(allowed):
            raise BadInput("layer_types", types, f"{layers} names, {one_of(allowed)}")
        count = sum(t == "sliding_attention" for t in types)
    return (count, _size(c, "sliding_window", 4096)) if count else (0, 0)


def _size(c: Mapping[str, Any], key: str, default: int | None = None, least: int = 1) -> int:
    value = c.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(key, value, f"the model's config must give a whole number, {least} or more")
    return value


def read_config(
    model: str, key: str, revision: str | None = None, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the content of a model's `config.json`, changed by vLLM's `hf_overrides`. Raises BadInput that
    names `key`."""

    path = Path(expanduser(model))
    file = path / "config.json"
    if not isdir(path):  # of a name that is too long, Path.is_dir raises
        if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
            raise BadInput(key, model, "needed: an existing model directory, or a Hugging Face id owner/name")
        file = _from_hub(model, key, revision)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(key, model, "needed: a directory that holds a config.json") from None
    except (OSError, ValueError) as error:
        raise BadInput(key, model, f"its config.json cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise BadInput(key, model, "its config.json must hold one JSON object")
    return _overridden(config, overrides or {})


def _overridden(config: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """As vLLM 0.32 does it (ModelConfig._apply_dict_overrides): a configuration within this one is changed
    key by key, and all else is replaced."""
    changed = {**config}
    for name, value in overrides.items():
        inner = config.get(name)
        changed[name] = value
        if isinstance(inner, dict) and isinstance(value, Mapping) and "model_type" in inner:
            changed[name] = _overridden(inner, value)
        if name == "rope_scaling":  # Transformers' older name
            changed["rope_parameters"] = value
    return changed


def optional_file(model: str, name: str, revision: str | None = None) -> Path | None:
    """Returns a file of a model's directory or hub repository; None where it has none."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    path = Path(expanduser(model))
    if isdir(path):
        return file if (file := path / name).is_file() else None
    try:
        cached = try_to_load_from_cache(model, name, revision=revision)
        if cached is not None:  # a path, or that it is known not to be there
            return Path(cached) if isinstance(cached, str) else None
        return Path(hf_hub_download(model, name, revision=revision))
    except Exception:  # not there, or out of reach: config.json has been read, so the model is known
        return None


def hub_commit(model: str, revision: str | None = None) -> str | None:
    """Returns the hub's commit of which this machine's copy of a model's configuration is; None where it has
    none, as of a directory."""
    from huggingface_hub import try_to_load_from_cache

    if isdir(expanduser(model)):
        return None
    try:
        cached = try_to_load_from_cache(model, "config.json", None, revision)
    except ValueError:  # no hub id either
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None


def _from_hub(model: str, key: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        # The cache first, or a machine without a network waits.
        cached = try_to_load_from_cache(model, "config.json", revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        if (away := _out_of_reach(model, revision)) is not None:
            why = "this machine has no copy of it, and the hub cannot be reached"
            raise BadInput(key, model, f"{why} ({away})")
        return Path(hf_hub_download(model, "config.json", revision=revision))
    except BadInput:
        raise
    except Exception as error:  # unknown, gated, malformed: the hub client has no common base class
        why = in_one_line(error)
        need = "needed: an existing model directory, or a Hugging Face id that this machine can read"
        raise BadInput(key, model, f"{need} ({why})") from None


def _out_of_reach(model: str, revision: str | None) -> str | None:
    """Returns why the hub does not answer; None where it does. A download would try again for half a minute
    before it says so."""
    from huggingface_hub import HfApi, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        HfApi().model_info(model, revision=revision, timeout=HUB_SECONDS)
    except (HfHubHTTPError, HFValidationError):  # an answer: the download tells what is wrong
        return None
    except Exception as error:  # no network, or a hub that is down
        return in_one_line(error)[:160]
    return None
