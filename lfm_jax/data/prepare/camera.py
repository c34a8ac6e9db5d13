"""Photographs as a raw converter would have saved them, made from photographs that are JPEG.

Lossless photographs are rare, so a detector that is trained on what there is accuses them. A sensor sees one colour at each
pixel, and the converter interpolates the other two: traces between neighbouring pixels that are a camera's, not a
generator's. Here a JPEG is scaled down, until little of its blocks is left, and passed through such a camera: noise of
photons and of reading (Foi et al., IEEE TIP 2008), a Bayer pattern, demosaicing by one of three published methods
(colour-demosaicing), white balance, denoising, sharpening, and PNG.
"""

import io
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageFilter

from lfm_jax.data.images import ImageError, decode_bytes
from lfm_jax.data.prepare.derived import Derived, derive
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.errors import UserError
from lfm_jax.runtime.rng import Stream, host_rng

GROUP_SUFFIX = "-camera"
SCALE = (0.35, 0.6)  # of the sides, log-uniform; at 0.6 a block of 8 px has become less than 5
LEAST_SIDE = 160  # px; a photograph whose shorter side would be below it at the largest factor is left out
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
METHODS = ("bilinear", "Malvar2004", "Menon2007")
GAIN = (1.3, 2.4)  # of red and blue over green, by the light of the scene
# Both log-uniform, and down to less than what 8 bits keep: of many exposures put together, or denoised, no noise is left to cover
# what was interpolated, and it is such photographs that are accused.
PHOTONS = (1e-7, 2e-3)  # variance of the noise per unit of signal, 0..1
READING = (1e-5, 4e-3)  # standard deviation of the noise of reading, of the same unit
MOST_DENOISING = 1.0  # px, sigma of a Gaussian; half of the photographs get none
MOST_SHARPENING = 150  # percent, of an unsharp mask; half of the photographs get none


def camera_path(photograph: str) -> str:
    """Where the render of GROUP/0_real/NAME.jpg lies in the folder of renders: GROUP-camera/0_real/NAME.png."""
    path = PurePath(photograph)
    group = path.parent.parent
    return str(group.with_name(group.name + GROUP_SUFFIX) / "0_real" / f"{path.stem}.png")


def render(source: FileSource, out: Path, *, seed: int) -> Iterator[Derived]:
    """Makes the render of every photograph of `source` that is a JPEG and lacks one in `out`, and tells of each.

    Args:
      source: labelled images, GROUP/{0_real,1_fake}.
      out: a render lies at `camera_path` in it.
      seed: of what is drawn for each photograph.
    """

    def make(index: int) -> bytes:
        picture = rendered(decode_bytes(source.encoded(index)), host_rng(seed, Stream.CAMERA, index))
        content = io.BytesIO()
        picture.save(content, "PNG")
        return content.getvalue()

    return derive(source, jpeg_photographs(source), out, camera_path, make)


def jpeg_photographs(source: FileSource) -> list[int]:
    """The places of the photographs that a render can be made of, by their suffixes."""
    return [
        index
        for index, example in enumerate(source.examples)
        if example.label == 0 and PurePath(example.path).suffix.lower() in (".jpg", ".jpeg")
    ]


def rendered(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One RGB photograph as a raw converter would have saved it: a pure function of it and of what `rng` draws.

    Raises:
      ImageError: it is too small.
    """
    shorter = min(photograph.size)
    if SCALE[1] * shorter < LEAST_SIDE:
        raise ImageError(f"{photograph.width} x {photograph.height} px: below {LEAST_SIDE} px once its JPEG traces are scaled away")
    factor = _log_uniform(rng, (max(SCALE[0], LEAST_SIDE / shorter), SCALE[1]))
    size = round(factor * photograph.width), round(factor * photograph.height)
    scene = _linear(np.asarray(photograph.resize(size, Image.Resampling.LANCZOS), np.float64) / 255)

    gains = np.array([rng.uniform(*GAIN), 1.0, rng.uniform(*GAIN)])
    raw = _sensor(scene / gains, rng)
    developed = _developed(raw, rng) * gains
    levels = np.rint(_encoded(developed.clip(0, 1)) * 255).astype(np.uint8)
    return _finished(Image.fromarray(levels), rng)


def _sensor(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear light [H, W, 3] -> what a sensor without colour filters would read, with its noise."""
    photons, reading = _log_uniform(rng, PHOTONS), _log_uniform(rng, READING)
    return light + rng.normal(size=light.shape) * np.sqrt(photons * light + reading**2)


def _developed(raw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keeps one colour per pixel [H, W, 3] -> [H, W], and interpolates the others."""
    try:
        import colour_demosaicing as demosaicing  # three seconds
    except ImportError:
        raise UserError("lfm data camera takes colour-demosaicing: pip install 'lfm_jax[camera]'") from None
    pattern, method = str(rng.choice(PATTERNS)), str(rng.choice(METHODS))
    mosaic = demosaicing.mosaicing_CFA_Bayer(raw, pattern)
    return getattr(demosaicing, f"demosaicing_CFA_Bayer_{method}")(mosaic, pattern)


def _finished(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Denoised in colour or altogether, and sharpened, each in half of the photographs."""
    sigma, amount = (max(2 * float(place) - 1, 0) for place in rng.random(2))
    colour_alone = rng.random() < 0.5
    if sigma:
        smooth = picture.filter(ImageFilter.GaussianBlur(MOST_DENOISING * sigma))
        if colour_alone:  # what converters do first: noise of colour is seen most, detail of colour least
            luma = picture.convert("YCbCr").getchannel(0)
            smooth = Image.merge("YCbCr", (luma, *smooth.convert("YCbCr").split()[1:])).convert("RGB")
        picture = smooth
    if amount:
        picture = picture.filter(ImageFilter.UnsharpMask(radius=1, percent=round(MOST_SHARPENING * amount), threshold=0))
    return picture


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _linear(encoded: np.ndarray) -> np.ndarray:
    """sRGB values of 0..1 -> linear light (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light of 0..1 -> sRGB values."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
