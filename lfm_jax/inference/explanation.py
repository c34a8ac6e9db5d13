"""One image's logit taken apart in the image's own pixels: the windows that made it, and how much each added.

In: a Network, an image, a protocol. Out: an Explanation: numbers that add up, and a heat map on the image as it came,
before the protocol resized, cropped or tiled it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.data.images import as_rgb
from lfm_jax.data.protocols import Box, Protocol
from lfm_jax.errors import UserError
from lfm_jax.inference import evidence as evidence_lib
from lfm_jax.inference import picture
from lfm_jax.inference.network import Network
from lfm_jax.inference.prediction import Prediction


@dataclass(frozen=True)
class Location:
    """A position of the map: `box` (x0, y0, x1, y1) holds every pixel of the image it is made from, x1 and y1 excluded."""

    row: int
    col: int
    box: Box
    evidence: float
    tile: int = 0  # which piece, where the protocol cuts several


@dataclass(frozen=True)
class Entry:
    """One pooled value: its map, its rank there (0 is the largest), and evidence = value * weight / the number of tiles used."""

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
    """bias + the sum of all `locations` = the logit, up to rounding; above 0 speaks for fake. The strongest come first."""

    prediction: Prediction
    bias: float
    locations: list[Location] = field(repr=False)
    entries: list[Entry] = field(repr=False)  # none where all positions of a map count alike
    image: Image.Image = field(repr=False)
    heat: np.ndarray = field(repr=False)  # float32 [height, width] of the image: evidence painted on the middle of its windows

    def to_dict(self, *, entries: bool = False) -> dict[str, Any]:
        """What goes into the JSON file; `entries` adds every pooled value by map and rank."""
        found = {**asdict(self.prediction), "bias": self.bias, "locations": [asdict(each) for each in self.locations]}
        return found | ({"entries": [asdict(each) for each in self.entries]} if entries else {})

    def strongest(self, count: int) -> list[Location]:
        """At most `count` locations, the strongest first, whose windows do not overlap."""
        return evidence_lib.apart(self.locations, count, box=lambda each: each.box)

    def overlay(self) -> Image.Image:
        """The image in grey, red where it speaks for fake, blue for real, the strongest windows framed."""
        frames = [(each.box, each.evidence) for each in self.strongest(picture.OUTLINED)]
        return picture.paint(np.asarray(self.image), self.heat, frames)

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        return picture.picture(self, self.overlay())


def explain_image(network: Network, image: Any, *, protocol: str | None = None) -> Explanation:
    """Path, PIL image or array uint8 [H, W, 3] -> Explanation under `protocol` (the card's where None).

    Raises:
      ImageError: the file cannot be decoded.
      UserError: the network's pooling or head leaves no such sum, or there is no such protocol.
      ValueError: no image, or one too small for the network (TooSmallError).
    """
    image, how = as_rgb(image), protocols.parse(protocol or network.card.protocol)
    pieces, model = how(image), network.model
    logits = network.logits(pieces)
    chosen = how.chosen(logits)
    entries: list[Entry] = []
    added: list[tuple[float, int, int, int]] = []
    for tile in chosen.tolist():
        found = evidence_lib.entries(network, pieces[tile])
        if found is None:
            why = evidence_lib.no_sum(model) or "model.pooling.kind: it mixes them"
            raise UserError(f"no evidence to show: the logit of these weights is no sum over positions ({why})")
        here = evidence_lib.added_up(model, found, pieces[tile])
        added += [(here[row, col] / len(chosen), tile, row, col) for row, col in np.argwhere(here).tolist()]
        entries += _entries(found, tile, len(chosen)) if evidence_lib.by_rank(found) else []
    corners = how.corners(*image.size)
    heat, locations = np.zeros(image.size[::-1], np.float32), []
    for evidence, tile, row, col in sorted(added, key=lambda each: -abs(each[0])):
        window, middle = (
            _moved(box(model, (row, col), pieces[tile]), corners[tile]) for box in (evidence_lib.window, evidence_lib.middle)
        )
        locations.append(Location(row, col, how.source_box(window, *image.size), float(evidence), tile))
        x0, y0, x1, y1 = _scaled(middle, how, *image.size)
        heat[y0:y1, x0:x1] += evidence
    prediction = Prediction.of(how.logit(logits), network.card, protocol=how.name, width=image.width, height=image.height)
    bias = float(np.asarray(network.variables["params"]["head"]["bias"])[0])
    return Explanation(prediction, bias, locations, entries, image, heat)


def _entries(found: evidence_lib.Entries, tile: int, tiles: int) -> list[Entry]:
    """One of `tiles` that make the logit, by map and rank."""
    entries = []
    for (m, rank), value in np.ndenumerate(found.values):
        weight, row, col = float(found.weights[m, rank]), int(found.rows[m, rank]), int(found.columns[m, rank])
        entries.append(Entry(m, rank, row, col, float(value), weight, float(value) * weight / tiles, tile))
    return entries


def _moved(box: Box, corner: tuple[int, int]) -> Box:
    """A box of a piece whose left and top are `corner` -> of the image."""
    (x0, y0, x1, y1), (left, top) = box, corner
    return x0 + left, y0 + top, x1 + left, y1 + top


def _scaled(box: Box, how: Protocol, width: int, height: int) -> Box:
    """A box of the image once resized -> of the image, so that neighbours touch and do not overlap."""
    if how.resize:
        across, down = width / how.resize, height / how.resize
        box = (round(box[0] * across), round(box[1] * down), round(box[2] * across), round(box[3] * down))
    x0, y0, x1, y1 = (max(side, 0) for side in box)  # a negative index would count from the other end
    return x0, y0, x1, y1
