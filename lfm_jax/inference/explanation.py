"""One image's logit taken apart in the image's own pixels: which windows made it, and how much each of them added.

Numbers add up exactly, and places refer to the image as it came, before the protocol resized, cropped or tiled it.
"""

import os
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.data.facts import carried
from lfm_jax.data.protocols import Box, Protocol
from lfm_jax.data.provenance import read_image
from lfm_jax.errors import UserError
from lfm_jax.inference import drawing
from lfm_jax.inference import evidence as evidence_lib
from lfm_jax.inference.batching import require_affordable
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import Prediction
from lfm_jax.inference.scoring import flatness
from lfm_jax.inference.verdict import Picture

TITLE_WIDTH = 150  # characters


@dataclass(frozen=True)
class Location:
    """A position of the map.

    Attributes:
      row, col: on the map.
      box: (x0, y0, x1, y1) with every pixel of the image that the position is made from; x1 and y1 are excluded.
      evidence: what it adds to the logit.
      tile: which piece, where the protocol cuts several.
    """

    row: int
    col: int
    box: Box
    evidence: float
    tile: int = 0


@dataclass(frozen=True)
class Entry:
    """One pooled value: its map, its rank there (0 is the largest), and evidence = value * weight / number of tiles used."""

    map: int
    rank: int
    row: int
    col: int
    value: float
    weight: float
    evidence: float
    tile: int = 0


@dataclass(frozen=True)
class Explanation:
    """`bias` plus the evidence of all `locations` is the logit, up to rounding; evidence above 0 speaks for fake.

    Attributes:
      locations: strongest first.
      entries: every pooled value; empty if all positions of a map count alike.
      image: as it came.
      heat: float32 [height, width] of the image, the evidence painted on the middle of each window.
      scored: the part of the image that was looked at.
      name: of the file; "" for pixels that came without one.
    """

    prediction: Prediction
    bias: float
    locations: list[Location] = field(repr=False)
    entries: list[Entry] = field(repr=False)
    image: Image.Image = field(repr=False)
    heat: np.ndarray = field(repr=False)
    scored: Box
    name: str = ""

    def to_dict(self, *, entries: bool = False) -> dict[str, Any]:
        """What goes into the JSON file; `entries` adds every pooled value by map and rank."""
        facts = {**asdict(self.prediction), "bias": self.bias, "locations": [asdict(one) for one in self.locations]}
        return facts | ({"entries": [asdict(entry) for entry in self.entries]} if entries else {})

    def strongest(self, count: int) -> list[Location]:
        """At most `count` locations, strongest first, whose windows do not overlap."""
        return evidence_lib.without_overlap(self.locations, count, box=lambda location: location.box)

    def overlay(self, *, side: int | None = None) -> Image.Image:
        """The image in grey, red where it speaks for a trace and blue against, with the strongest windows framed.

        It is as large as the image, or at most `side` px.
        """
        return drawing.paint(self.image, self.heat, self._windows(), side=side)

    def thumbnail(self, side: int) -> Image.Image:
        """The overlay of at most `side` px, with a frame around the part that was looked at unless that is all of it."""
        small = self.overlay(side=side)
        return drawing.framed(small, drawing.scaled(self.scored, small.width / self.image.width))

    def figure(self) -> bytes:
        """PNG of the answer, the image, the evidence and residual of its scored part, and the strongest windows."""
        prediction = self.prediction
        evidence = sum(location.evidence for location in self.locations)
        numbers = (
            f"Score {prediction.score:.3f}, threshold {prediction.threshold:.3g}, {prediction.protocol}: "
            f"logit {prediction.logit:.3f} = bias {self.bias:.3f} and {evidence:+.3f} from {len(self.locations)} places. "
            f"{prediction.width} x {prediction.height} px{prediction.format and f', {prediction.format}'}, "
            f"{100 * prediction.share:.3g} % of it looked at."
        )
        lines = [" ".join(prediction.reasons), numbers]
        if prediction.provenance and prediction.provenance.is_notable:
            lines.append(f"Separately, the file {prediction.provenance.line()}. Such text can be forged.")
        words = drawing.Words(prediction.verdict.capitalize(), self.name, lines)
        return drawing.figure(self.image, self.heat, scored=self.scored, windows=self._windows(), words=words)

    def _windows(self) -> list[drawing.Window]:
        return [(location.box, location.evidence) for location in self.strongest(drawing.FRAMED)]

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        return self.figure()


def explain_image(network: Network, image: Any, *, protocol: str | None = None) -> Explanation:
    """Explains one image.

    Args:
      image: path, PIL image or array uint8 [H, W, 3].
      protocol: the card's if None.

    Raises:
      ImageError: the file cannot be decoded, is too large for the memory here, or the network gives it no finite logit.
      UserError: the network's pooling or head leaves no sum over positions, or there is no such protocol.
      ValueError: not an image, or one too small for the network (TooSmallError).
    """
    name = os.path.basename(image) if isinstance(image, (str, os.PathLike)) else ""  # noqa: PTH119
    parsed = protocols.parse(protocol or network.card.protocol)
    image, provenance = read_image(image)
    pieces = parsed(image)
    require_affordable(*pieces.shape[1:3], protocol=parsed.name)
    logits = network.logits_of_tiles(pieces)
    picture = Picture(image.width, image.height, parsed, flatness(pieces), carried(image))
    prediction = Prediction.of(parsed.logit(logits), network.card, picture, provenance=provenance)
    entries: list[Entry] = []
    places: list[_Place] = []
    tiles = parsed.chosen(logits).tolist()
    for tile in tiles:
        pooled = evidence_lib.pooled_entries(network, pieces[tile])
        if pooled is None:
            why = evidence_lib.no_sum(network.model) or "model.pooling.kind: it mixes them"
            raise UserError(f"no evidence to show: the logit of these weights is no sum over positions ({why})")
        added = evidence_lib.summed(network.model, pooled, pieces[tile])
        places += [_Place(added[row, col] / len(tiles), tile, row, col) for row, col in np.argwhere(added).tolist()]
        entries += _entries(pooled, tile, len(tiles)) if pooled.rank_matters else []
    locations, heat = _on_image(network, parsed, image, pieces, places)
    return Explanation(prediction, network.bias, locations, entries, image, heat, _scored(parsed, image, pieces), name)


def _scored(protocol: Protocol, image: Image.Image, pieces: np.ndarray) -> Box:
    """The part of the image that all pieces together are made from."""
    corners = protocol.corners(*image.size)
    (left, top), (last_left, last_top) = corners[0], corners[-1]
    box = left, top, last_left + pieces.shape[2], last_top + pieces.shape[1]
    return protocol.source_box(box, *image.size)


@dataclass(frozen=True)
class _Place:
    """A position of a tile's map, and what it adds to the logit."""

    evidence: float
    tile: int
    row: int
    col: int


def _on_image(
    network: Network, protocol: Protocol, image: Image.Image, pieces: np.ndarray, places: list[_Place]
) -> tuple[list[Location], np.ndarray]:
    """Places on the pieces -> locations in the image, strongest first, and the heat map painted from them."""
    corners = protocol.corners(*image.size)
    heat, locations = np.zeros(image.size[::-1], np.float32), []
    for place in sorted(places, key=lambda place: -abs(place.evidence)):
        window, middle = (
            _moved(box(network.model, (place.row, place.col), pieces[place.tile]), corners[place.tile])
            for box in (evidence_lib.window, evidence_lib.middle)
        )
        box = protocol.source_box(window, *image.size)
        locations.append(Location(place.row, place.col, box, float(place.evidence), place.tile))
        x0, y0, x1, y1 = _scaled(middle, protocol, *image.size)
        heat[y0:y1, x0:x1] += place.evidence
    return locations, heat


def _entries(pooled: evidence_lib.Entries, tile: int, tiles: int) -> list[Entry]:
    """The pooled values of one of the `tiles` that make the logit, by map and rank."""
    entries = []
    for (number, rank), value in np.ndenumerate(pooled.values):
        weight = float(pooled.weights[number, rank])
        row, col = int(pooled.rows[number, rank]), int(pooled.columns[number, rank])
        entries.append(Entry(number, rank, row, col, float(value), weight, float(value) * weight / tiles, tile))
    return entries


def _moved(box: Box, corner: tuple[int, int]) -> Box:
    """A box in a piece whose left and top are `corner` -> the box in the image."""
    (x0, y0, x1, y1), (left, top) = box, corner
    return x0 + left, y0 + top, x1 + left, y1 + top


def _scaled(box: Box, protocol: Protocol, width: int, height: int) -> Box:
    """A box in the resized image -> the box in the image, so that neighbours touch and do not overlap."""
    if protocol.resize:
        across, down = width / protocol.resize, height / protocol.resize
        box = (round(box[0] * across), round(box[1] * down), round(box[2] * across), round(box[3] * down))
    x0, y0, x1, y1 = (max(side, 0) for side in box)  # a negative index would count from the other end
    return x0, y0, x1, y1
