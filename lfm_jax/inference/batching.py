"""Which images share a batch, and how much memory that may take. Every limit on the network's memory is stated here.

The first activations take 256 bytes per padded pixel of a batch, and dwarf everything after them. A batch of 32 images of
256 px therefore takes 0.5 GiB; larger images come in smaller batches of the same number of pixels, and one image alone
may have MAX_PIXELS, 4 GiB.
"""

import numpy as np

from lfm_jax.data.images import ImageError

BATCH_SIDE = 256  # px; `batch_size` counts images of this size
MAX_PIXELS = 1 << 24  # of one image after its protocol


def padded_side(side: int) -> int:
    """The side that images are padded to: a multiple of 32, at most 1/8 larger, one of eight to the octave.

    This bounds the number of compiled programs, however many sizes a folder holds.
    """
    step = max(32, (1 << side.bit_length()) >> 4)
    return -(-side // step) * step


def padded_shape(pixels: np.ndarray) -> tuple[int, int]:
    """pixels [H, W, 3] -> height and width after padding."""
    return padded_side(pixels.shape[0]), padded_side(pixels.shape[1])


def padded_rows(images: int) -> int:
    """Images of a batch -> the power of two that its rows are padded to."""
    return 1 << (images - 1).bit_length()


def images_at_once(batch_size: int, shape: tuple[int, int]) -> int:
    """How many images of a padded shape make a full batch."""
    return max(1, min(batch_size, batch_size * BATCH_SIDE**2 // (shape[0] * shape[1])))


def require_affordable(height: int, width: int, *, protocol: str) -> None:
    """Raises ImageError if an image is too large after `protocol` to be scored in one piece."""
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} px under protocol {protocol} is over the limit of {MAX_PIXELS} px at once: use crop256 or tiles256"
        )
