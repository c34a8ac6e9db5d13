"""Grey values of more than 8 bits: scaled to 8 where their range is known, otherwise refused, naming the mode."""

import io

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data.audit.check import check_folder
from lfm_jax.data.images import ImageError, as_rgb, decode_bytes


def encoded(values, container):
    file = io.BytesIO()
    Image.fromarray(values).save(file, container)
    return file.getvalue()


def sixteen_bit():
    return np.random.default_rng(0).integers(0, 1 << 16, (17, 21)).astype(np.uint16)


@pytest.mark.parametrize("container", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_upper_byte(container):
    pixels = np.asarray(decode_bytes(encoded(sixteen_bit(), container)))
    np.testing.assert_array_equal(pixels, np.repeat((sixteen_bit() >> 8)[..., None], 3, axis=2))


def test_an_image_in_memory_is_scaled_too():
    np.testing.assert_array_equal(np.asarray(as_rgb(Image.fromarray(sixteen_bit())))[..., 0], sixteen_bit() >> 8)


def test_floats_of_0_to_1_are_scaled():
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    np.testing.assert_array_equal(np.asarray(decode_bytes(encoded(values, "TIFF")))[..., 1].ravel(), np.arange(256))


@pytest.mark.parametrize("wrong", [-0.5, 1.5, 255, np.nan, np.inf])
def test_other_floats_are_refused_by_their_mode(wrong):
    values = np.full((16, 16), 0.5, np.float32)
    values[3, 4] = wrong
    with pytest.raises(ImageError, match=r"mode F: float values .*expected 0 to 1"):
        decode_bytes(encoded(values, "TIFF"))


def test_integers_of_no_known_range_are_refused_by_their_mode():
    with pytest.raises(ImageError, match="mode I: 32-bit integers"):
        decode_bytes(encoded(np.full((16, 16), 70_000, np.int32), "TIFF"))


def test_data_check_calls_them_a_problem(tmp_path, noise):
    for label in ("0_real", "1_fake"):
        (tmp_path / "gan" / label).mkdir(parents=True)
        noise(16, 16, seed=len(label) + ord(label[0])).save(tmp_path / f"gan/{label}/plain.png")
    (tmp_path / "gan/0_real/deep.png").write_bytes(encoded(sixteen_bit(), "PNG"))
    (problem,) = check_folder(tmp_path)["problems"]
    assert problem == {
        "kind": "more than 8 bits",
        "where": "gan/0_real/deep.png",
        "what": "mode I;16, scaled to 8 bits when read",
    }
