"""Small image files of every format, written for a test."""

import numpy as np
import pytest
from PIL import Image


def frames(count=3, mode="RGB", size=(21, 17)):
    """Images that share no pixel value with each other."""
    rng = np.random.default_rng(0)
    planes = [rng.integers(80 * i, 80 * i + 80, (size[1], size[0], 3), dtype=np.uint8) for i in range(count)]
    return [Image.fromarray(plane).convert(mode) for plane in planes]


def animated(folder, suffix, **options):
    first, *others = frames()
    first.save(folder / f"moving{suffix}", save_all=True, append_images=others, duration=50, **options)
    return folder / f"moving{suffix}"


def saved(folder, image, suffix, **options):
    if suffix in (".heic", ".heif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    image.save(folder / f"image{suffix}", **options)
    return folder / f"image{suffix}"


def written(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name
