"""Kinds of model that vLLM serves in other ways than a plain decoder: quantised weights, and sliding windows
in some layers, for which it keeps caches of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM

from actors.engine_options import check_kernels
from actors.generator import GeneratorActor
from actors.messages import SampleRequest
from actors.verifier import VerifierActor
from orchestrator.budget.flops import CostModel
from orchestrator.verifiers.config import TrainConfig
from orchestrator.verifiers.label import LabelledSolution
from orchestrator.verifiers.model import load_verifier, scores
from orchestrator.verifiers.train import train
from tests.support.calls import sample, score
from tests.support.quantised import FORMATS, quantise
from tests.support.shared_engines import BLOCK, CACHE_BYTES
from tests.support.tiny_models import MAX_LEN, save_family, save_llama

PROMPTS = [
    tuple(1 + (7 * i + j * j) % 12 for j in range(length)) for i, length in enumerate((5, 33, 70, 120))
]
SMALL = {"kv_cache_memory_bytes": CACHE_BYTES, "max_num_seqs": 16}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("base") / "model")


def asked() -> list[SampleRequest]:
    return [sample(prompt, seed, 24, until="end", logprobs=True) for prompt in PROMPTS for seed in range(3)]


def gone_on(parents: list[SampleRequest], found: list[list[Any]]) -> list[SampleRequest]:
    """Requests that go on from the first results."""
    return [
        msgspec.structs.replace(parent, id=f"{parent.id}-on", prompt=(*parent.prompt, *result.tokens), seed=9)
        for parent, result in zip(parents, found[0], strict=True)
    ]


def ask(one_by_one: Any, model: Path, options: dict[str, Any], groups: list[Any]) -> list[list[Any]]:
    return ray.get(one_by_one.answers.remote(GeneratorActor, str(model), options, groups))


def logprobs(model: Any, request: SampleRequest, tokens: Sequence[int]) -> torch.Tensor:
    """Those of a sample's tokens, of the whole path at once, without a cache."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*request.prompt, *tokens]]), use_cache=False).logits[0].float()
    return logits[len(request.prompt) - 1 : -1].log_softmax(-1)[range(len(tokens)), list(tokens)]


def furthest(model: Any, requests: Sequence[SampleRequest], results: Sequence[Any]) -> float:
    """The largest difference between an engine's log-probabilities and a model's."""
    return max(
        float((torch.tensor(result.logprobs) - logprobs(model, request, result.tokens)).abs().max())
        for request, result in zip(requests, results, strict=True)
    )


# -- quantised weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_quantised_model_is_charged_as_the_same_model_with_plain_weights(
    name: str, base: Path, tmp_path: Path
) -> None:
    quantise(base, tmp_path / name, name)
    assert CostModel.from_pretrained(str(tmp_path / name)) == CostModel.from_pretrained(str(base))


def rounded(module: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """The inputs of a matrix with 8 bits a number, a scale a token."""
    scale = inputs[0].abs().amax(-1, keepdim=True) / 127
    return ((inputs[0] / scale).round() * scale,)


@pytest.mark.parametrize(
    ("quantisation", "on_cpu", "capability", "refused"),
    [
        ("gptq", True, "AVX2", True),
        ("gptq", True, "AVX512", False),
        ("gptq", False, "AVX2", False),
        (None, True, "AVX2", False),
    ],
)
def test_only_quantised_weights_on_a_cpu_with_avx2_alone_are_refused(
    quantisation: str | None, on_cpu: bool, capability: str, refused: bool
) -> None:
    with pytest.raises(ValueError, match=r"quantised \(gptq\)") if refused else nullcontext():
        check_kernels(quantisation, on_cpu=on_cpu, capability=capability)


AVX2_ALONE = torch.backends.cpu.get_cpu_capability() == "AVX2"


@pytest.mark.engine
@pytest.mark.skipif(not AVX2_ALONE, reason="this CPU has kernels for quantised weights")
@pytest.mark.parametrize(("name", "dtype"), [("int8", "float32"), ("gptq", "auto")])
def test_a_quantised_model_is_refused_where_its_kernels_would_fail_or_compute_something_else(
    one_by_one: Any, base: Path, tmp_path: Path, name: str, dtype: str
) -> None:
    quantise(base, tmp_path / name, name)
    options = {"step_delimiter": "\n", "dtype": dtype, "engine": SMALL}
    with pytest.raises(
        ValueError, match=r"quantised \(.*\), and this CPU has AVX2 alone; allowed: a CPU with AVX-512"
    ):
        ask(one_by_one, tmp_path / name, options, [asked()])


@pytest.mark.engine
@pytest.mark.skipif(AVX2_ALONE, reason="this CPU has no kernels for quantised weights: AVX2 alone")
@pytest.mark.parametrize(("name", "dtype", "near"), [("int8", "float32", 0.15), ("gptq", "auto", 0.3)])
def test_a_quantised_model_starts_and_samples_by_the_probabilities_of_its_stored_weights(
    one_by_one: Any, base: Path, tmp_path: Path, name: str, dtype: str, near: float
) -> None:
    model = quantise(base, tmp_path / name, name)
    if name == "int8":
        for part in model.model.layers.modules():
            if isinstance(part, torch.nn.Linear):
                part.register_forward_pre_hook(rounded)
    requests = asked()
    options = {"step_delimiter": "\n", "dtype": dtype, "engine": SMALL}
    found, again = ask(one_by_one, tmp_path / name, options, [requests, requests])
    assert [r.tokens for r in again] == [r.tokens for r in found]
    assert furthest(model, requests, found) < near
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    assert furthest(plain, requests, found) > 3 * near, "as with the weights before they were quantised"


# -- sliding windows in some layers --------------------------------------------------------------------

WINDOW = 32
LAYERS = ("sliding_attention", "full_attention", "sliding_attention")
KEYS_BYTES = 2 * 2 * 32 * 4 * BLOCK
"""Of a block in one layer: keys and values, heads, width, float32."""


def save_windowed(path: Path, kind: str, **settings: Any) -> Path:
    layers: dict[str, Any] = {"num_hidden_layers": len(LAYERS), "layer_types": list(LAYERS), "head_dim": 32}
    return save_family(path, kind, sliding_window=WINDOW, **layers, **settings)


@pytest.mark.engine
def test_a_model_with_windows_in_some_layers_samples_the_same_from_one_cache_and_from_several(
    one_by_one: Any, tmp_path: Path
) -> None:
    # Tied, its embedding and head would make it say one token for ever.
    windowed = save_windowed(tmp_path / "windowed", "gemma3_text", tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_pretrained(windowed, dtype=torch.float32).eval()
    parents, found, said = asked(), [], []
    for more in ({}, {"kv_transfer_config": None}):
        options = {"step_delimiter": "\n", "dtype": "float32", "engine": SMALL | more}
        found.append(ask(one_by_one, windowed, options, [parents, partial(gone_on, parents)]))
        said.append(ray.get(one_by_one.said.remote()))
    (first, grown), (other_first, other_grown) = found
    assert [r.tokens for r in first + grown] == [r.tokens for r in other_first + other_grown]
    children = gone_on(parents, [first])
    assert furthest(model, parents + children, first + grown) < 1e-3
    model.config.sliding_window = MAX_LEN
    assert furthest(model, children, grown) > 0.1, "as without windows"
    assert max(len(request.prompt) for request in children) > 2 * WINDOW + BLOCK
    # Reuse by the token where there is one cache, by the block where there are several.
    assert all(r.computed_tokens == len(r.tokens) for r in grown)
    assert sum(r.computed_tokens for r in other_grown) > sum(r.computed_tokens for r in grown)
    # One cache keeps every token in each layer. With several, a request as long as the context needs its
    # blocks in the full layer and, since its prompt comes in one piece, one more in each layer with a window.
    blocks = CACHE_BYTES // KEYS_BYTES
    assert said[0].kv_cache_tokens == blocks // len(LAYERS) * BLOCK
    whole = MAX_LEN // BLOCK
    assert said[1].kv_cache_tokens == blocks * MAX_LEN // (whole + LAYERS.count(LAYERS[0]) * (whole + 1))


@pytest.mark.engine
def test_a_verifier_with_windows_in_some_layers_scores_as_plain_torch_does_from_one_cache_and_from_several(
    one_by_one: Any, tmp_path: Path
) -> None:
    windowed = save_windowed(tmp_path / "windowed", "gemma2")
    ends = (20, 50, 70, 100, 131, 150)
    paths = [tuple(1 + (n + j * j) % 13 for j in range(ends[-1])) for n in range(8)]
    rows = [
        LabelledSolution(f"p{n}", "", (), (n % 2,) * len(ends), tokens, ends)
        for n, tokens in enumerate(paths)
    ]
    trained = tmp_path / "verifier"
    config = TrainConfig(steps=3, batch=8, lr=1e-2, warmup=0, held_out=0.4, freeze=1)
    assert train(rows, str(windowed), trained, config, log=lambda line: None) is not None
    model = load_verifier(trained)
    with torch.inference_mode():
        expected = scores(model, torch.tensor(paths))
        model.config.sliding_window = MAX_LEN
        unlike = scores(model, torch.tensor(paths))
    assert float((unlike - expected).abs().max()) > 0.1, "as without windows"
    groups = [
        [score(tokens[: ends[2]], *ends[:3]) for tokens in paths],
        [score(each, *ends) for each in paths],
    ]
    for more in ({}, {"kv_transfer_config": None}):
        options = {"dtype": "float32", "engine": SMALL | more}
        begun, whole = ray.get(one_by_one.answers.remote(VerifierActor, str(trained), options, groups))
        for result, row in zip(begun + whole, [*expected, *expected], strict=True):
            at = [float(row[end - 1]) for end in ends[: len(result.scores)]]
            assert result.scores == pytest.approx(at, abs=1e-4)
        # The beginning of each is cached: up to its last token, or to the end of a block.
        computed = {result.computed_tokens for result in whole}
        assert computed == {ends[-1] - ends[2]} if not more else max(computed) < ends[-1]
