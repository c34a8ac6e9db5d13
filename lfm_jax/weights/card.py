"""The card: what a set of weights needs to be used right, and where it comes from. Travels with the weights.

In and out: plain JSON. It holds the model config (architecture, mean, std), the protocol and threshold to
score with, the training behind the weights, their licence, and the hash of their content.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lfm_jax import config as config_lib
from lfm_jax.data.protocols import parse
from lfm_jax.weights.score import is_fake, sigmoid

DEFAULT_PROTOCOL = "crop256"


@dataclass
class Card:
    """The score is the sigmoid of logit / `temperature`, in [0, 1], and `threshold` is on it.

    `calibration` says on what the two were fitted, {} where they were not; see `calibrate`. `weights_sha256` is
    `content_hash` of the variables.
    """

    model: dict[str, Any] = field(default_factory=lambda: config_lib.model().to_dict())
    protocol: str = DEFAULT_PROTOCOL
    threshold: float = 0.5
    temperature: float = 1.0
    calibration: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    weights_sha256: str = ""

    def score(self, logit: float) -> float:
        """Logit -> score in [0, 1] that the image is fake."""
        return float(sigmoid(logit / self.temperature))

    def is_fake(self, logit: float) -> bool:
        """Whether the score is above the threshold."""
        return bool(is_fake(logit / self.temperature, self.threshold))

    @property
    def oracle(self) -> bool:
        """Whether the threshold was fitted on test images."""
        return bool(self.calibration.get("oracle"))

    def caveats(self, protocols: Iterable[str]) -> list[str]:
        """What is to be said where the threshold is used under these protocols."""
        fitted = self.calibration.get("protocol")
        others = [name for name in protocols if fitted and name != fitted]
        found = [f"threshold and temperature were fitted under {fitted}, not {', '.join(others)}"] if others else []
        return found + (["the threshold is an oracle's: it was fitted on test images"] if self.oracle else [])

    def to_json(self) -> str:
        """With `preprocessing`, what the protocol's name stands for, for readers to whom it is no more than a name."""
        return json.dumps({**asdict(self), "preprocessing": asdict(parse(self.protocol))}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Raises ValueError for a field that no card has."""
        values = json.loads(text)
        values.pop("preprocessing", None)  # follows from the protocol
        unknown = set(values) - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(f"unknown fields in the weights' card: {', '.join(sorted(unknown))}")
        return cls(**values)

    def model_config(self) -> ConfigDict:
        """The model config, defaults filled in for fields that are younger than the card."""
        config = config_lib.model()
        config.update(ConfigDict(self.model))
        return config


def content_hash(variables: Mapping[str, Any]) -> str:
    """sha256 over names, shapes and bytes of {"params", "batch_stats"}: the same in every file format."""
    digest = hashlib.sha256()

    def add(tree: Mapping[str, Any], path: str) -> None:
        for name in sorted(tree):
            if isinstance(tree[name], Mapping):
                add(tree[name], f"{path}/{name}")
            else:
                array = np.asarray(tree[name])
                digest.update(f"{path}/{name} {array.dtype} {array.shape}\n".encode())
                digest.update(array.tobytes())

    add({name: variables[name] for name in ("params", "batch_stats")}, "")
    return digest.hexdigest()
