"""What a file says about its pixels before they are looked at: whether saving it lost anything, and how much.

The facts travel with a decoded image in PIL's `info`, which copies, crops and resized versions of the image keep.
"""

from dataclasses import dataclass

from PIL import Image

from lfm_jax.data.audit.jpeg import quality_of

KEY = "lfm_jax.facts"  # in `Image.info`
LOSSLESS = "lossless"
NAMES = {"MPO": "JPEG", "WEBP": "WebP"}  # PIL's names -> what users call them
_JPEG_IN_TIFF = ("jpeg", "tiff_jpeg")
_LOSSY_WEBP = b"VP8 "


@dataclass(frozen=True)
class FileFacts:
    """How the pixels were stored.

    Attributes:
      container: PNG, JPEG, WebP and so on, told by content.
      quality: of a JPEG, 1 to 100, estimated from its quantisation tables; otherwise None.
      lossy: whether saving it changed pixels.
    """

    container: str
    quality: int | None = None
    lossy: bool = False

    @property
    def kind(self) -> str:
        """What counts for traces: LOSSLESS for all containers that keep pixels as they were, otherwise the container."""
        return self.container if self.lossy else LOSSLESS

    def __str__(self) -> str:
        """PNG, JPEG 92, WebP (lossless)."""
        if self.container == "WebP" and not self.lossy:
            return "WebP (lossless)"
        return f"{self.container} {self.quality}" if self.quality else self.container


def facts_of(image: Image.Image, data: bytes = b"") -> FileFacts | None:
    """The facts of an opened file, from its header; None for an image that did not come from a file.

    Args:
      data: the bytes of the file, which tell lossless WebP from lossy. Without them WebP counts as lossy, as most is.
    """
    if not image.format:
        return None
    container = NAMES.get(image.format, image.format)
    if container == "JPEG" or image.info.get("compression") in _JPEG_IN_TIFF:
        return FileFacts("JPEG", quality_of(image)[0], lossy=True)
    lossy = container == "GIF" or (container == "WebP" and _has_lossy_frame(data))
    return FileFacts(container, lossy=lossy)


def carried(image: Image.Image) -> FileFacts | None:
    """The facts of the file that this image was decoded from; None if it never was one, or was changed since."""
    facts = image.info.get(KEY)
    return facts if isinstance(facts, FileFacts) else facts_of(image)


def _has_lossy_frame(data: bytes) -> bool:
    """Walks along the chunks of a WebP to its first frame."""
    start = 12
    while start + 8 <= len(data):
        name, length = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        if name == b"ANMF":  # a frame of an animation holds chunks of its own, after 16 bytes
            start += 24
        elif name in (_LOSSY_WEBP, b"VP8L"):
            return name == _LOSSY_WEBP
        else:
            start += 8 + length + length % 2
    return True
