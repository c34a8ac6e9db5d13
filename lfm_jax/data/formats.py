"""The formats that image files are read in, and the libraries that some of them take."""

import functools

from PIL import features

from lfm_jax.errors import ImageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # PIL's other formats are never tried: one starts Ghostscript
READ = (*FORMATS, "HEIC", "AVIF")  # the last two by `formats_for`


def formats_for(kind: str) -> tuple[str, ...]:
    """PIL's names of the formats to try on a file of that kind.

    Raises:
      ImageError: a kind that is read only with what is not installed here; names it.
    """
    if kind == "HEIC":
        if not _reads_heic():
            raise ImageError("HEIC, which phones save, is read with pillow-heif: pip install 'lfm_jax[heif]'")
        return ("HEIF",)
    if kind == "AVIF":
        if not features.check("avif"):
            raise ImageError("AVIF is read by Pillow 11.3 and above, built with it: pip install --upgrade pillow")
        return ("AVIF",)
    return FORMATS


@functools.cache
def _reads_heic() -> bool:
    """Whether pillow-heif is installed; if so, it is made known to PIL, for the image alone and none of what goes with it."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return True
