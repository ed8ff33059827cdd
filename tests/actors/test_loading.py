"""A model is loaded from where it is, and no more of it than that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray

from actors.generator import GeneratorActor
from tests.support.calls import answers, end, sample
from tests.support.hub import MODEL, hub


def test_replicas_that_start_together_download_a_models_files_once_a_node(
    cluster: dict[str, Any], generator: Any, generator_path: Path, tmp_path: Path
) -> None:
    request = sample((3, 4, 5), 11, 20, until="end")
    (expected,) = answers(generator, [request])
    with hub(generator_path) as serving:
        environment = {"HF_ENDPOINT": serving.endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        make = ray.remote(GeneratorActor).options(runtime_env={"env_vars": environment})
        replicas = [make.remote(f"hub-{n}", MODEL, step_delimiter="\n") for n in range(2)]
        for replica in replicas:
            (result,) = answers(replica, [request])
            assert result.tokens == expected.tokens
        assert serving.downloads["model.safetensors"] == 1
        assert set(serving.downloads.values()) == {1}
        for replica in replicas:
            end(replica)
