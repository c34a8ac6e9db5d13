"""Decoded images kept in memory for their next use. In: how to make an image. Out: the image, made once where there is room."""

import threading
from collections.abc import Callable

from PIL import Image

BYTES_A_PIXEL = 4  # PIL pads RGB


class KeptImages:
    """The first images that fit into `limit` bytes. Used by several threads.

    What goes through all images again and again, in whatever order, finds these each time; keeping the latest
    instead would find none of them again.
    """

    def __init__(self, limit: int):
        self.limit, self.bytes = limit, 0
        self._images: dict[int, Image.Image] = {}
        self._lock = threading.Lock()

    def get(self, index: int, make: Callable[[], Image.Image]) -> Image.Image:
        """The image of that index; what `make` raises is not kept."""
        if index in self._images:
            return self._images[index]
        image = make()
        size = BYTES_A_PIXEL * image.width * image.height
        with self._lock:
            if self.bytes + size <= self.limit and index not in self._images:
                self.bytes += size
                self._images[index] = image
        return image
