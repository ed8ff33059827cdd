"""Access to the model hub, as it goes with a replica to its node."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Self

VARIABLES = ("HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE")
"""Environment variables of the hub's library. vLLM hands them on to the workers of a replica."""


@dataclass(frozen=True)
class HubAccess:
    """The token, the place of the cache, and the hub itself, which no message and no log shows."""

    values: Mapping[str, str] = field(repr=False)
    """Environment variables by name."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Returns what an environment says of the hub."""
        return cls({name: environment[name] for name in VARIABLES if environment.get(name)})

    def apply(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Sets the variables that the node does not set itself; to be called before the library is imported,
        which reads them once."""
        for name, value in self.values.items():
            environment.setdefault(name, value)
