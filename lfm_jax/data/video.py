"""Frames of a video at even intervals, decoded one after the other by PyAV (extra [video]).

A frame is decoded as it is stored: a turn that the file asks viewers for is left alone, as EXIF's is in photos. Only files
whose beginning is that of a known container are opened, as that container, and they may refer to no other file.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lfm_jax.data.budget import BUDGET
from lfm_jax.data.images import BYTES_PER_PIXEL_IN_PLANES, MAX_PIXELS_IN_PLANES, ImageError
from lfm_jax.data.kinds import VIDEOS, kind_of_file
from lfm_jax.errors import UserError, first_line

MAX_BYTES_AHEAD = 1 << 28  # of frames read ahead of their scoring
_CONTAINERS = {"MP4": "mov", "MOV": "mov", "WebM": "matroska", "AVI": "avi"}  # FFmpeg's names
_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0}


def interval(text: str) -> float:
    """Seconds from "1s", "0.5", "500ms" or "2min". Raises UserError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    seconds = float(match[1]) * _UNITS.get(match[2], math.nan) if match else math.nan
    if not 1e-3 <= seconds <= 1e6:
        raise UserError(f"--every={text}: expected the time from one frame to the next, such as 1s, 0.5s, 500ms or 2min")
    return seconds


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video of a kind read here, told by its beginning."""
    return kind_of_file(path) in VIDEOS


@dataclass(frozen=True)
class Frame:
    """A decoded frame that is not yet an RGB image. `seconds` is its time from the first frame on."""

    seconds: float
    planes: Any

    def image(self) -> Image.Image:
        """The frame as an RGB image."""
        with BUDGET.decoding(self.planes.width * self.planes.height * BYTES_PER_PIXEL_IN_PLANES):
            image: Image.Image = self.planes.to_image()
            return image


class Video:
    """An opened video; iterating over it gives the first frame and then one every `every` seconds.

    Raises:
      ImageError: it cannot be opened, or has no picture. Iterating raises it where decoding breaks off.
      UserError: PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, every: float):
        try:
            import av
        except ImportError:
            raise UserError(f"{path}: a video; reading it needs PyAV: pip install 'lfm_jax[video]'") from None
        self._errors = (av.error.FFmpegError, OSError, ValueError, RuntimeError, MemoryError)
        self._every = every
        try:
            self._file = av.open(os.fspath(path), format=_CONTAINERS[kind_of_file(path)], metadata_errors="replace")
            if not self._file.streams.video:
                raise ImageError("a video file without a picture")
            self._stream = self._file.streams.video[0]
            self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS_IN_PLANES)}
            self._stream.thread_type = "AUTO"
            self.pixels = self._stream.codec_context.width * self._stream.codec_context.height
        except self._errors as error:
            raise ImageError(f"a video that cannot be opened: {first_line(error)}") from None

    def frames_ahead(self, most: int) -> int:
        """How many frames may be read ahead: at most `most`, and at least one."""
        return max(1, min(most, MAX_BYTES_AHEAD // (BYTES_PER_PIXEL_IN_PLANES * max(self.pixels, 1))))

    def __iter__(self) -> Iterator[Frame]:
        first: float | None = None
        following, given = 0.0, 0
        try:
            with self._file:
                for number, planes in enumerate(self._file.decode(self._stream)):
                    time = planes.time if planes.time is not None else number / float(self._stream.average_rate or 25)
                    first = time if first is None else first
                    seconds = time - first
                    if seconds < following - 1e-6:
                        continue
                    if planes.width * planes.height > MAX_PIXELS_IN_PLANES:
                        raise ValueError(f"{planes.width} x {planes.height} is over the limit of {MAX_PIXELS_IN_PLANES} pixels")
                    following = (math.floor(seconds / self._every + 1e-6) + 1) * self._every
                    given += 1
                    yield Frame(seconds, planes)
        except self._errors as error:
            raise ImageError(f"a video that breaks off after {given} frames: {first_line(error)}") from None
        if not given:
            raise ImageError("a video without a frame")
