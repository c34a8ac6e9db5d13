"""The card: how a set of weights is to be used, and where it comes from. It travels with the weights as plain JSON.

It holds the model config (architecture, mean, std), the protocol and threshold to score with, the training behind the
weights, their licence, and the hash of their content.
"""

import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lfm_jax import config as config_lib
from lfm_jax.data.protocols import parse
from lfm_jax.errors import UserError, WeightsError, first_line
from lfm_jax.weights.operating_range import OperatingRange, read_ranges, shipped
from lfm_jax.weights.score import is_fake, sigmoid

DEFAULT_PROTOCOL = "crop256"


@dataclass
class Card:
    """A score is the sigmoid of logit / `temperature`, in [0, 1], and an image is called fake above `threshold`.

    `calibration` says what both were fitted on (see `evaluation.calibrate`); it is {} where they were not fitted.
    `operating_range` says, for each protocol that it was measured under, in which files the weights were shown to find fakes
    (see `weights.operating_range`); {} where it was not measured.
    `weights_sha256` is the `content_hash` of the variables.
    """

    model: dict[str, Any] = field(default_factory=lambda: config_lib.model().to_dict())
    protocol: str = DEFAULT_PROTOCOL
    threshold: float = 0.5
    temperature: float = 1.0
    calibration: dict[str, Any] = field(default_factory=dict)
    operating_range: dict[str, Any] = field(default_factory=dict)
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
    def cut(self) -> float:
        """The logit above which an image is called fake."""
        return self.temperature * math.log(self.threshold / (1 - self.threshold))

    @functools.cached_property
    def ranges(self) -> dict[str, OperatingRange]:
        """Operating ranges by protocol: the card's, or what this package has for these weights."""
        return read_ranges(self.operating_range or shipped().get(self.weights_sha256, {}))

    def measured(self, protocol: str) -> OperatingRange | None:
        """The operating range under a protocol; where there is none, that of another protocol, and None if there is none at all."""
        return self.ranges.get(protocol) or next(iter(self.ranges.values()), None)

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
        return json.dumps({**self.to_values(), "preprocessing": asdict(parse(self.protocol))}, indent=1)

    def to_values(self) -> dict[str, Any]:
        """Its fields. An empty operating range is left out, as earlier versions refuse a field that they do not know."""
        return {name: value for name, value in asdict(self).items() if name != "operating_range" or value}

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Reads what `to_json` wrote, or someone else. Raises WeightsError where it is not a card."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"it is not JSON: {first_line(error)}") from None
        if isinstance(values, Mapping):
            values = {name: value for name, value in values.items() if name != "preprocessing"}  # follows from the protocol
        return cls.from_values(values)

    @classmethod
    def from_values(cls, values: Any) -> "Card":
        """The one way from what lies on a disk to a card: fields of the right types, that score images with what they say.

        Raises:
          WeightsError: names the field, its value and what was expected.
        """
        if not isinstance(values, Mapping):
            raise WeightsError(f"expected fields by name, found {type(values).__name__}")
        types = {known.name: type(getattr(cls(), known.name)) for known in fields(cls)}
        if unknown := sorted(set(values) - set(types)):
            raise WeightsError(f"unknown fields: {', '.join(unknown)}")
        for name, value in values.items():
            if not isinstance(value, types[name]) and not (types[name] is float and type(value) is int):
                raise WeightsError(f"{name} = {_short(value)}: expected {WORDS[types[name]]}")
        card = cls(**values)
        if not 0 < card.threshold < 1:
            raise WeightsError(f"threshold = {card.threshold}: expected a score between 0 and 1")
        if not 0 < card.temperature < math.inf:
            raise WeightsError(f"temperature = {card.temperature}: expected a finite number above 0")
        _ = card.ranges  # parsed, so that damage is found here
        try:
            parse(card.protocol)
            config_lib.check_model(card.model_config())
        except UserError as error:
            raise WeightsError(str(error).replace("config.model.", "model.")) from None
        return card

    def model_config(self) -> ConfigDict:
        """The model config, with defaults for fields that did not exist when the card was written.

        Raises:
          WeightsError: it has a field that no model has, or a value of another type; names it.
        """
        config = config_lib.model().lock()
        for name, value in self.model.items():
            if isinstance(config.get(name), ConfigDict) and not isinstance(value, Mapping):
                raise WeightsError(f"model.{name} = {_short(value)}: expected fields {', '.join(config[name])}")
        try:
            config.update(ConfigDict(self.model))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"model: {first_line(error)[:200].strip(chr(34))}") from None
        return config.unlock()


WORDS = {str: "text", float: "a number", dict: "fields by name"}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}..."


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
