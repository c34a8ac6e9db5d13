"""Which images share a batch, and how much memory that may take. Every limit on the network's memory is stated here.

The first activations take 256 bytes per padded pixel of a batch, and with what they are made from, BYTES_PER_PIXEL. A batch
of 32 images of 256 px therefore takes 1.1 GiB; larger images come in smaller batches of the same number of pixels, and one
image alone may have MAX_PIXELS, or fewer where the machine has less memory than that takes.
"""

import numpy as np

from lfm_jax.data.images import ImageError
from lfm_jax.runtime.memory import memory_limit

BATCH_SIDE = 256  # px; `batch_size` counts images of this size
LARGE = 32  # images of BATCH_SIDE; one image of more pixels than they have is scored while nothing else is
MAX_PIXELS = 1 << 24  # of one image after its protocol
BYTES_PER_PIXEL = 550  # of a padded image in the network; measured: 6.9 GB for 4000 x 3000 px


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
    """Raises ImageError if an image is too large after `protocol` to be scored in one piece, here or anywhere."""
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} px under protocol {protocol} is over the limit of {MAX_PIXELS} px at once: use crop256 or tiles256"
        )
    needed, limit = padded_side(height) * padded_side(width) * BYTES_PER_PIXEL, memory_limit()
    if needed > limit and is_large(height, width):
        raise ImageError(
            f"{width} x {height} px under protocol {protocol} would take about {needed / 1e9:.1f} GB of memory, over the limit of "
            f"{limit / 1e9:.1f} GB here: use crop256 or tiles256"
        )


def is_large(height: int, width: int) -> bool:
    """Whether one image of that padded size takes as much memory as a batch of LARGE images of BATCH_SIDE."""
    return height * width > LARGE * BATCH_SIDE**2
