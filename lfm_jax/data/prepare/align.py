"""Aligned fakes: photographs passed through the decoder of a generator, and otherwise left as they are.

A detector that is trained on fakes of one kind of file and photographs of another learns the files. A photograph and its
aligned fake have one content, one size and one container (a JPEG is saved with the tables and the chroma subsampling of the
original, and its blocks fall on the same grid), so what is left to learn is what the decoder does. The idea is that of
Dual Data Alignment (NeurIPS 2025, arXiv 2505.14359).
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from lfm_jax.data.images import ImageError, decode_bytes
from lfm_jax.data.prepare.derived import Derived, derive
from lfm_jax.data.prepare.spectrum import with_power_of
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.runtime.rng import Stream, host_rng

# Takes an image float32 [H, W, 3] in 0..1, the standard deviation of noise on the latents as a share of their own, and
# the seed of that noise; returns the image that the decoder makes, of the same shape.
Autoencode = Callable[[np.ndarray, float, int], np.ndarray]

DECODED_BY = "decoders.tsv"  # in the folder of fakes: a photograph's path and the name of the decoder of its fake, line by line

SHIFT = 8  # px; the decoder's grid starts anywhere within this distance of the image's corner
MOST_NOISE = 0.1  # on the latents, as a share of their standard deviation; half of the fakes get none
MOST_OF_PHOTOGRAPH = 0.4  # share of the photograph that is blended in; half of the fakes get none


def fake_path(photograph: str) -> str:
    """Where the aligned fake of GROUP/0_real/NAME lies in the folder of aligned fakes: GROUP/1_fake/NAME."""
    above, _, name = photograph.rpartition("0_real" + os.sep)
    return f"{above}1_fake{os.sep}{name}"


def drawn_decoder(photograph: str, names: Iterable[str]) -> str:
    """Which of several decoders makes the fake of a photograph: by a hash of its path, so a further one moves only its share."""
    path = photograph.replace(os.sep, "/")
    return max(names, key=lambda name: hashlib.sha256(f"{name}\n{path}".encode()).digest())


def decoded_by(out: Path) -> dict[str, str]:
    """The names of the decoders of the fakes in a folder, by the paths of the photographs; {} where none were noted."""
    file = out / DECODED_BY
    lines = file.read_text().splitlines() if file.is_file() else []
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def align(
    source: FileSource, out: Path, bank: Mapping[str, Autoencode], *, seed: int, max_pixels: int, match_power: bool = False
) -> Iterator[Derived]:
    """Makes the aligned fake of every photograph of `source` that lacks one in `out`, and tells of each photograph.

    Args:
      source: labelled images; those that are not real are passed over.
      out: a fake lies at `fake_path` in it.
      bank: functions that pass an image through a decoder, by name; `drawn_decoder` chooses. The name is noted in DECODED_BY.
      seed: of what is drawn for each fake: the place of the grid, the noise, and the share of the photograph.
      max_pixels: larger photographs are left out.
      match_power: give each fake the power of its photograph at every frequency, as `spectrum.with_power_of` does.
    """

    def make(index: int) -> bytes:
        path = source.examples[index].path
        encoded = source.encoded(index)
        photograph = decode_bytes(encoded)
        if photograph.width * photograph.height > max_pixels:
            raise ImageError(f"{photograph.width} x {photograph.height} px is more than --max_pixels={max_pixels}")
        decoder = drawn_decoder(path, bank)
        fake = aligned_fake(photograph, bank[decoder], host_rng(seed, Stream.ALIGN, index), match_power=match_power)
        content = in_container_of(encoded, fake)
        _note(out / DECODED_BY, path, decoder)
        return content

    photographs = (index for index, example in enumerate(source.examples) if example.label == 0)
    return derive(source, photographs, out, fake_path, make)


def _note(file: Path, photograph: str, decoder: str) -> None:
    """Adds a line before the fake is written: a run that is ended between the two makes the fake and notes it again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a+b") as lines:
        if lines.tell():
            lines.seek(-1, os.SEEK_END)
            if lines.read(1) != b"\n":  # a line that was not finished
                lines.write(b"\n")
        lines.write(f"{photograph}\t{decoder}\n".encode())


def aligned_fake(
    photograph: Image.Image, autoencode: Autoencode, rng: np.random.Generator, *, match_power: bool = False
) -> Image.Image:
    """The fake of one RGB photograph: a pure function of it and of what `rng` draws."""
    top, left = (int(shift) for shift in rng.integers(0, SHIFT, 2))
    noise, blended = (max(2 * place - 1, 0) for place in rng.random(2))
    pixels = np.asarray(photograph, np.float32) / 255
    height, width = pixels.shape[:2]
    shifted = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), "symmetric")
    decoded = autoencode(shifted, MOST_NOISE * noise, int(rng.integers(1 << 31)))[top : top + height, left : left + width]
    share = MOST_OF_PHOTOGRAPH * blended
    mixed = share * pixels + (1 - share) * decoded
    if match_power:
        mixed = with_power_of(pixels, mixed)
    return Image.fromarray(np.rint(mixed * 255).clip(0, 255).astype(np.uint8))


def in_container_of(encoded: bytes, image: Image.Image) -> bytes:
    """`image` saved as the file `encoded` is: a lossless file as PNG, a JPEG with the same tables and subsampling.

    Raises:
      ImageError: the container cannot be repeated, as WebP does not tell what it was saved with.
    """
    with Image.open(io.BytesIO(encoded)) as original:
        file = io.BytesIO()
        if isinstance(original, JpegImagePlugin.JpegImageFile) and original.mode == "RGB":
            sampling = JpegImagePlugin.get_sampling(original)
            if sampling < 0:
                raise ImageError("a JPEG whose chroma subsampling cannot be repeated")
            image.save(file, "JPEG", qtables=original.quantization, subsampling=sampling)
        elif original.format in ("PNG", "BMP", "TIFF"):
            image.save(file, "PNG")
        else:
            raise ImageError(f"the container {original.format} {original.mode} cannot be repeated")
    return file.getvalue()
