"""The configuration as it is kept with a run: secrets are masked, and an ``${oc.env:…}`` stays what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from orchestrator.config.schema import Config, to_dict
from orchestrator.errors import BadInput
from orchestrator.masking import is_masked, masked_value

ENVIRONMENT = "${oc.env:"


def written(config: Config) -> dict[str, Any]:
    """Returns plain containers. A value that came from the environment is the ``${oc.env:…}`` that it was
    given by, and a secret is masked."""

    def leaf(path: str, value: Any) -> Any:
        text, resolved = config.unresolved.get(path, (None, None))
        return text if text is not None and value == resolved else masked_value(path, value)

    return changed(to_dict(config), leaf)


def to_yaml(config: Config) -> str:
    """Returns the configuration as the YAML that is kept with a run, from which it can be resumed."""
    return OmegaConf.to_yaml(OmegaConf.create(written(config)))


def tracking_uri(config: Config) -> str | None:
    """Returns ``tracking.uri`` as it was given: it may be an ``${oc.env:…}``."""
    text, resolved = config.unresolved.get("tracking.uri", (None, None))
    return text if text is not None and resolved == config.tracking.uri else config.tracking.uri


def unresolved(merged: DictConfig, config: Config) -> dict[str, tuple[str, Any]]:
    """Returns the values of ``config`` that come from the environment: by dotted key, the text in ``merged``
    and the value."""
    texts = {
        path: value
        for path, value in leaves(OmegaConf.to_container(merged, resolve=False))
        if isinstance(value, str) and ENVIRONMENT in value
    }
    return {path: (texts[path], value) for path, value in leaves(to_dict(config)) if path in texts}


def check_secrets(config: Config) -> None:
    """Raises BadInput where a secret is masked, since the configuration is one that a run has left."""
    for path, value in leaves(to_dict(config)):
        if is_masked(path, value):
            needed = f"it is not kept with a run: give it again, as {path}='${{oc.env:NAME}}' or in clear"
            raise BadInput(path, value, needed)


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value that is no container, with its dotted key."""
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if below is None:
        yield path, node
        return
    for name, value in below:
        yield from leaves(value, f"{path}.{name}" if path else str(name))


def changed(node: Any, leaf: Callable[[str, Any], Any], path: str = "") -> Any:
    """Returns the same containers with ``leaf(dotted key, value)`` in place of every value."""

    def below(name: object, value: Any) -> Any:
        return changed(value, leaf, f"{path}.{name}" if path else str(name))

    if isinstance(node, dict):
        return {name: below(name, value) for name, value in node.items()}
    if isinstance(node, list):
        return [below(index, value) for index, value in enumerate(node)]
    return leaf(path, node)
