"""The card: how a set of weights is to be used, and where it comes from. It travels with the weights as plain JSON.

It holds the model config (architecture, mean, std), the protocol and threshold to score with, the training behind the
weights, their licence, and the hash of their content.
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
    """A score is the sigmoid of logit / `temperature`, in [0, 1], and an image is called fake above `threshold`.

    `calibration` says what both were fitted on (see `evaluation.calibrate`); it is {} where they were not fitted.
    `weights_sha256` is the `content_hash` of the variables.
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
        """The score in [0, 1] that the image is fake."""
        return float(sigmoid(logit / self.temperature))

    def is_fake(self, logit: float) -> bool:
        """Whether the score is above the threshold."""
        return bool(is_fake(logit / self.temperature, self.threshold))

    @property
    def oracle(self) -> bool:
        """Whether the threshold was fitted on test images."""
        return bool(self.calibration.get("oracle"))

    def caveats(self, protocols: Iterable[str]) -> list[str]:
        """What a user should know before applying the threshold under these protocols."""
        fitted = self.calibration.get("protocol")
        others = [name for name in protocols if fitted and name != fitted]
        caveats = [f"threshold and temperature were fitted under {fitted}, not {', '.join(others)}"] if others else []
        return caveats + (["the threshold is an oracle's: it was fitted on test images"] if self.oracle else [])

    def to_json(self) -> str:
        """JSON that also has `preprocessing`, the steps behind the protocol's name, for readers that do not know the name."""
        return json.dumps({**asdict(self), "preprocessing": asdict(parse(self.protocol))}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Reads what `to_json` wrote. Raises ValueError for an unknown field."""
        values = json.loads(text)
        values.pop("preprocessing", None)  # follows from the protocol
        unknown = set(values) - {known.name for known in fields(cls)}
        if unknown:
            raise ValueError(f"unknown fields in the weights' card: {', '.join(sorted(unknown))}")
        return cls(**values)

    def model_config(self) -> ConfigDict:
        """The model config, with defaults for fields that did not exist when the card was written."""
        config = config_lib.model()
        config.update(ConfigDict(self.model))
        return config


def content_hash(variables: Mapping[str, Any]) -> str:
    """sha256 of the names, shapes and bytes of {"params", "batch_stats"}; the same in every file format."""
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
