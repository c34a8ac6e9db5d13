"""Reads what a file says about where it came from, from its bytes, without decoding a pixel. Never raises."""

import io
import mmap
import os
from collections.abc import Iterator
from typing import Any

from PIL import Image

from lfm_jax.data.archives import Member
from lfm_jax.data.formats import formats_for
from lfm_jax.data.images import as_rgb, decode_bytes, read
from lfm_jax.data.kinds import HEAD, kind_of
from lfm_jax.data.provenance import exif
from lfm_jax.data.provenance.base import CAMERA, GENERATED, Finding, Provenance
from lfm_jax.data.provenance.blocks import MAX_BLOCK, Block, Buffer, blocks_of
from lfm_jax.data.provenance.credentials import manifest_findings
from lfm_jax.data.provenance.generators import credit_in, generator_in, is_parameters, text_finding
from lfm_jax.data.provenance.xmp import xmp_findings
from lfm_jax.runtime.paths import expanded

MIME = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "TIFF or camera raw": "image/tiff",
    "HEIC": "image/heic",
    "AVIF": "image/avif",
    "MP4": "video/mp4",
    "MOV": "video/quicktime",
}


def provenance_of(data: Buffer) -> Provenance:
    """What an image file says about its origin. Damaged or hostile metadata says as much as can be read of it."""
    kind = kind_of(data[:HEAD])
    return Provenance.of(_findings(data, kind))


def provenance_of_file(path: str | os.PathLike[str]) -> Provenance:
    """The same of a file that may be too large to be read whole, such as a video; nothing of one that cannot be read."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return provenance_of(data)
    except (OSError, ValueError):  # the latter if it is empty
        return Provenance()


def read_image(image: Any) -> tuple[Image.Image, Provenance | None]:
    """An RGB image from a path, a member of an archive, a PIL image or an array, and what its file says; None for pixels.

    Raises:
      ImageError: the file cannot be read.
      ValueError: an array of another shape or dtype.
    """
    if isinstance(image, (str, os.PathLike, Member)):
        data = image.read() if isinstance(image, Member) else read(expanded(image))
        return decode_bytes(data), provenance_of(data)
    return as_rgb(image), None


def _findings(data: Buffer, kind: str) -> Iterator[Finding]:
    blocks = [*blocks_of(data), *_items_of(data, kind)]
    manifest = next((block for block in blocks if block.kind == "c2pa"), None)  # checked once: it takes hashing the whole file
    for block in blocks:
        if block.kind == "c2pa" and block is not manifest:
            continue
        try:
            yield from _block_findings(block, data, kind)
        except Exception as error:  # whatever a block holds, the image is scored
            yield Finding.of(block.kind, f"cannot be read: {type(error).__name__}")


def _block_findings(block: Block, data: Buffer, kind: str) -> Iterator[Finding]:
    if block.kind == "text":
        finding = text_finding(block.keyword, block.content.decode("utf-8", "replace"))
        yield from [finding] if finding else []
    elif block.kind == "exif":
        yield from _exif_findings(exif.read_exif(block.content))
    elif block.kind == "xmp":
        yield from xmp_findings(block.content)
    elif block.kind == "c2pa":
        yield from manifest_findings(block.content, data, MIME.get(kind, ""))
    elif is_parameters(text := block.content.decode("utf-8", "replace")):
        yield Finding.of("comment", "written by a Stable Diffusion tool", text, GENERATED)


def _exif_findings(tags: dict[int, bytes]) -> Iterator[Finding]:
    text = {tag: exif.text_of(value[:MAX_BLOCK]) for tag, value in tags.items()}
    comment = exif.comment_of(tags.get(exif.COMMENT, b""))
    make, model = text.get(exif.MAKE, ""), text.get(exif.MODEL, "")
    camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
    if is_parameters(comment):
        yield Finding.of("exif", "UserComment is written by a Stable Diffusion tool", comment, GENERATED)
    elif credit := credit_in(comment):
        yield Finding.of("exif", f"UserComment: {credit}", comment, GENERATED)
    for tag, value in {"Software": text.get(exif.SOFTWARE, ""), "Make": camera}.items():
        if name := generator_in(value):
            yield Finding.of("exif", f"{tag} names {name}, a generator", value, GENERATED)
    if camera and not generator_in(camera):
        taken = text.get(exif.TAKEN, "")
        yield Finding.of("exif", f"taken with {camera}" + f" on {taken}" * bool(taken), camera, CAMERA)
    if (software := text.get(exif.SOFTWARE)) and not generator_in(software):
        yield Finding.of("exif", f"written by {software}", software)
    if exif.XMP in tags:
        yield from xmp_findings(tags[exif.XMP])


def _items_of(data: Buffer, kind: str) -> Iterator[Block]:
    """Exif and XMP of HEIC and AVIF, which are items of the container: their decoders find them, and decode no pixel for it."""
    if kind not in ("HEIC", "AVIF"):
        return
    try:
        with Image.open(io.BytesIO(data), formats=formats_for(kind)) as image:
            found = {name: image.info.get(name) for name in ("exif", "xmp")}
    except Exception:  # also where the decoder is not installed
        return
    for name, content in found.items():
        if isinstance(content, bytes) and content:
            yield Block(name, "", content[:MAX_BLOCK].removeprefix(b"Exif\0\0"))
