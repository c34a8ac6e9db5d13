"""How a JPEG was compressed, from its quantisation tables and its chroma subsampling.

Qualities are on the scale of the Independent JPEG Group (IJG), which libjpeg and therefore nearly every program uses.
Cameras and Photoshop have tables of their own, which is told too.
"""

import functools

import numpy as np
from PIL import Image, JpegImagePlugin

# ITU-T T.81, tables K.1 (luminance) and K.2 (chrominance), row by row: quality 50.
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99, 99, 99, 99, 99, 99, 99, 99),
    *(99, 99, 99, 99, 99, 99, 99, 99),
    *(99, 99, 99, 99, 99, 99, 99, 99),
    *(99, 99, 99, 99, 99, 99, 99, 99),
)


def quality_of(image: Image.Image) -> tuple[int | None, bool]:
    """The quality of an opened image, 1..100, and whether its tables are exactly IJG's; (None, False) if it has no tables.

    Other tables get the quality whose luminance table is nearest in the mean of |log ratio|.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.quantization or not image.layer:
        return None, False
    return _quality_of_tables(tuple(tuple(image.quantization.get(layer[3], ())) for layer in image.layer))


@functools.lru_cache(maxsize=256)  # most files have the tables of a few programs at a few qualities
def _quality_of_tables(tables: tuple[tuple[int, ...], ...]) -> tuple[int | None, bool]:
    """The same from the table of each component."""
    if any(len(table) != 64 or min(table) < 1 for table in tables):
        return None, False
    ratios = np.abs(np.log(_scaled(LUMINANCE) / np.array(tables[0]))).mean(axis=1)
    quality = int(ratios.argmin()) + 1
    ijg = tuple(_scaled(LUMINANCE)[quality - 1]), tuple(_scaled(CHROMINANCE)[quality - 1])
    return quality, tables[0] == ijg[0] and all(table in ijg for table in tables)


def subsampling_of(image: Image.Image) -> str:
    """The chroma subsampling of an opened image: "4:4:4", "4:2:2", "4:2:0", others as "2x1,1x2,1x1"; "" if grey or not a JPEG."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or len(image.layer) < 3:
        return ""
    factors = ",".join(f"{across}x{down}" for _, across, down, _ in image.layer[:3])
    return {"1x1,1x1,1x1": "4:4:4", "2x1,1x1,1x1": "4:2:2", "2x2,1x1,1x1": "4:2:0"}.get(factors, factors)


@functools.cache
def _scaled(table: tuple[int, ...]) -> np.ndarray:
    """The table at qualities 1 to 100, [100, 64], scaled as libjpeg's jpeg_set_quality does."""
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((np.array(table) * percent + 50) // 100, 1, 255)
