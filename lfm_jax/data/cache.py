"""Decoded images kept in memory for their next use, and what they may take of it.

Training keeps them from one epoch to the next (`config.data.cache_mib`), evaluation from one view or protocol to the
next (`lfm evaluate --keep_mib`).
"""

import threading
from collections.abc import Callable, Hashable

from PIL import Image

from lfm_jax.data.sources.base import Source

BYTES_PER_PIXEL = 4  # PIL pads RGB


class KeptImages:
    """The first images that fit into `limit` bytes, by index or file. Several threads may use it at once.

    The first rather than the latest: whoever goes through all images again and again, in whatever order, finds these
    every time. The latest would have been replaced before their turn came again.
    """

    def __init__(self, limit: int):
        self.limit, self.bytes = limit, 0
        self._images: dict[Hashable, Image.Image] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Image.Image]) -> Image.Image:
        """The image of that key, from memory or else from `make`. If `make` raises, nothing is kept."""
        if key in self._images:
            return self._images[key]
        image = make()
        size = BYTES_PER_PIXEL * image.width * image.height
        with self._lock:
            if self.bytes + size <= self.limit and key not in self._images:
                self.bytes += size
                self._images[key] = image
        return image


class KeptSource:
    """A source whose decoded images are kept, as far as `limit` bytes go."""

    def __init__(self, source: Source, *, limit: int):
        self._source, self._kept = source, KeptImages(limit)
        self.name, self.examples = source.name, source.examples
        self.content_hash, self.encoded = source.content_hash, source.encoded

    def image(self, index: int) -> Image.Image:
        return self._kept.get(index, lambda: self._source.image(index))
