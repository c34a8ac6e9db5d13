"""What kind of file this is, told by its first bytes, whatever its name says."""

import os
import stat

HEAD = 64  # bytes that tell the kind
# Of those kinds, the ones that a file is taken for without a suffix that says so.
IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "HEIC", "AVIF")
VIDEOS = ("MP4", "MOV", "WebM", "AVI")
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF or camera raw"),
    (b"MM\0*", "TIFF or camera raw"),
    (b"%PDF", "PDF"),
    (b"8BPS", "PSD"),
    (b"PK\3\4", "ZIP"),
    (b"\x1a\x45\xdf\xa3", "WebM"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"version https://git-lfs", "Git LFS pointer"),
    (b"<!doctype html", "HTML page"),
    (b"<html", "HTML page"),
)
_RIFF = {b"WEBP": "WEBP", b"AVI ": "AVI", b"WAVE": "WAV"}
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"qt  ": "MOV", **dict.fromkeys(_HEIC, "HEIC")}


def kind_of(head: bytes) -> str:
    """The kind of a file that begins with these bytes; "" if it is not one of those known here."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        kind = _BRANDS.get(head[8:12], "MP4")
        return "AVIF" if kind == "HEIC" and {head[at : at + 4] for at in range(16, len(head), 4)} & {b"avif", b"avis"} else kind
    return next((kind for signature, kind in _SIGNATURES if head[: len(signature)].lower() == signature.lower()), "")


def kind_of_file(path: str | os.PathLike[str]) -> str:
    """The kind of a file; without one that is known, its suffix in lower case or "no suffix"."""
    suffix = os.path.splitext(path)[1].lower() or "no suffix"  # noqa: PTH122
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  # reading a pipe might never end
            return suffix
        with open(path, "rb") as file:
            return kind_of(file.read(HEAD)) or suffix
    except OSError:
        return suffix
