"""Scoring a set: every image once, in order, with the logit that it would have alone, whatever it is batched with."""

import math

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lfm_jax import config, models
from lfm_jax.data import protocols
from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.base import Example
from lfm_jax.errors import UserError
from lfm_jax.inference.batching import MAX_PIXELS, padded_side
from lfm_jax.inference.detector import Detector
from lfm_jax.inference.scoring import score
from lfm_jax.weights.card import Card


class Given:
    """A source of these images; a string stands for a broken file and is its reason."""

    name = "given"

    def __init__(self, images):
        self.images = images
        self.examples = [Example(f"{index}.png") for index in range(len(images))]

    def image(self, index):
        if isinstance(self.images[index], str):
            raise ImageError(self.images[index])
        return self.images[index]


def reds(sizes):
    """An image for each (height, width), the n-th with n in its first pixel; None stands for a broken file."""
    images = []
    for index, size in enumerate(sizes):
        pixels = np.zeros((*(size or (1, 1)), 3), np.uint8)
        pixels[0, 0, :2] = divmod(index, 256)
        images.append(Image.fromarray(pixels) if size else f"reason {index}")
    return images


# Height, width: two padded shapes, odd sizes; broken and too small images in between.
SIZES = [(64, 64), (41, 64), None, (96, 33), (64, 64), (20, 64), (41, 64), None, (64, 64), (96, 33), (64, 64)]


def positions(side):
    """Side of an image's map: an odd pixel is dropped, three blocks halve it. The tiny detector needs 4 positions."""
    return max((((side // 2 * 2 - 1) // 2 - 1) // 2 - 1) // 2 - 1, 0)


class Numbering(Detector):
    """Its logit is the number in the first pixel. Remembers the shapes of its batches and checks their padding."""

    def __init__(self, like):
        super().__init__(like.model, like.variables, like.card)
        self.seen = []

    def logits_async(self, images, *, sizes=None):
        self.seen.append(images.shape[:3])
        for image, (height, width) in zip(images, sizes.tolist(), strict=True):
            assert not image[height:].any()
            assert not image[:, width:].any()
            assert image.shape == (padded_side(height), padded_side(width), 3)
        return images[:, 0, 0, :2] @ np.array([256.0, 1.0], np.float32)


@pytest.fixture(scope="module")
def mixed(noise):
    return [noise(*size, seed=index) if size else "truncated" for index, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def alone(tiny_detector, mixed):
    """The logit of each image in a batch of one, without padding; None for those that cannot be scored."""
    return [
        None if isinstance(image, str) or image.height < 32 else float(tiny_detector.logits(np.asarray(image)[None])[0])
        for image in mixed
    ]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_every_image_has_the_logit_it_has_alone_in_its_place(batch_size, tiny_detector, mixed, alone):
    scored = list(score(tiny_detector, Given(mixed), "native", batch_size=batch_size))
    assert [item.index for item in scored] == list(range(len(mixed)))
    assert [item.logit is None for item in scored] == [logit is None for logit in alone]
    logits, expected = ([logit for logit in some if logit is not None] for some in ([item.logit for item in scored], alone))
    assert np.ptp(expected) > 0.1  # or any order would do
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_images_of_50_random_sizes_get_the_logits_that_pytorch_gives_each_alone(tiny_detector, noise):
    """Batched and padded here; PyTorch gets the images one by one, unpadded, without an odd last row or column."""
    torch = pytest.importorskip("torch", reason="PyTorch compiles nothing for a new size")
    from lfm_jax.bench.pytorch import load, normalize
    from lfm_jax.weights.state_dict import to_state_dict

    network = load(to_state_dict(tiny_detector.variables, tiny_detector.model), (4, 8, 8, 8), maps=4, k=4).eval()
    sizes = np.random.default_rng(7).integers(33, 129, (50, 2)).tolist()
    images = [noise(*size, seed=index, strength=255 - 4 * index) for index, size in enumerate(sizes)]
    logits = [item.logit for item in score(tiny_detector, Given(images), "native", batch_size=8)]
    for logit, image, (height, width) in zip(logits, images, sizes, strict=True):
        even = np.array(image)[None, : height // 2 * 2, : width // 2 * 2]
        with torch.inference_mode():
            assert logit == pytest.approx(float(network(normalize(torch.from_numpy(even)))[0]), rel=1e-5, abs=1e-5)


def test_failures_carry_their_reason_and_leave_no_logit(tiny_detector, mixed):
    by_index = {item.index: item for item in score(tiny_detector, Given(mixed), "native")}
    assert by_index[2].error == "truncated"
    assert (by_index[2].width, by_index[2].height) == (0, 0)
    assert by_index[5].error.startswith("64 x 20 px is too small")
    assert {index for index, item in by_index.items() if item.error} == {2, 5, 7}
    assert all((item.logit is None) == (item.error is not None) for item in by_index.values())


def test_sizes_are_those_of_the_image_not_of_the_protocol(given_logits):
    (item,) = score(given_logits, Given([Image.new("RGB", (301, 40))]), "resize256")
    assert (item.width, item.height) == (301, 40)


def test_the_last_row_and_column_of_an_odd_size_do_not_count(tiny_detector, noise):
    odd = noise(63, 61)
    even = odd.crop((0, 0, 60, 62))
    first, second = score(tiny_detector, Given([odd, even]), "native")
    assert first.logit == pytest.approx(second.logit, rel=1e-5)


def test_the_protocol_is_applied_before_the_network(tiny_detector, noise):
    image = noise(80, 120)
    (item,) = score(tiny_detector, Given([image]), "crop64")
    expected = tiny_detector.logits(np.asarray(image.crop((28, 8, 92, 72)))[None])
    assert item.logit == pytest.approx(float(expected[0]), rel=1e-5)


@given(
    sizes=st.lists(st.none() | st.tuples(st.integers(16, 200), st.integers(16, 200)), max_size=40),
    batch_size=st.integers(1, 9),
    threads=st.integers(1, 8),
)
@settings(deadline=None, max_examples=25)
def test_any_mix_of_images_comes_out_in_order_each_once(tiny_detector, sizes, batch_size, threads):
    detector = Numbering(tiny_detector)
    scored = list(score(detector, Given(reds(sizes)), "native", batch_size=batch_size, threads=threads))
    assert [item.index for item in scored] == list(range(len(sizes)))
    for item, size in zip(scored, sizes, strict=True):
        if size is None:
            assert (item.error, item.logit) == (f"reason {item.index}", None)
        elif positions(size[0]) * positions(size[1]) < 4:
            assert "too small" in item.error
        else:
            assert item.logit == item.index
            assert (item.height, item.width) == size
    for rows, height, width in detector.seen:
        assert rows < 2 * batch_size
        assert height % 32 == width % 32 == 0


@pytest.mark.parametrize("images", [[], ["truncated"], ["truncated"] * 5])
def test_a_set_without_a_usable_image_is_scored_like_any_other(images, given_logits):
    scored = list(score(given_logits, Given(images), "native"))
    assert [item.error for item in scored] == images
    assert given_logits.seen == []


def test_the_first_scores_come_before_all_images_are_read(given_logits):
    """A folder of a million files shows its first scores at once."""
    source = Given([Image.new("RGB", (32, 32))] * 200)
    read = set()
    source.image = lambda index: read.add(index) or source.images[index]
    next(score(given_logits, source, "native", batch_size=4, threads=2))
    assert len(read) < 100


def test_the_default_network_takes_48_px_and_says_so_if_given_47():
    model = models.build(config.model())
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), models.abstract_variables(model))
    detector = Detector(model, zeros, Card())
    (item,) = score(detector, Given([Image.new("RGB", (47, 47))]), "native")
    assert item.logit is None
    assert "47 x 47 px is too small" in item.error
    assert "48 x 48 px is the smallest" in item.error
    detector.model.require_size(48, 48)
    detector.model.require_size(49, 49)


def test_an_image_over_the_limit_is_refused_with_a_way_out(given_logits):
    side = math.isqrt(MAX_PIXELS) + 1
    source = Given([Image.new("RGB", (side, side)), Image.new("RGB", (32, 32))])
    huge, small = score(given_logits, source, "native")
    assert f"{side} x {side} px" in huge.error
    assert "crop256" in huge.error
    assert small.error is None
    huge, _ = score(given_logits, source, "crop256")
    assert huge.error is None


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_tiles_over_several_batches_make_one_logit_each(batch_size, tiny_detector, noise):
    """Images of 6, 1, 4 and 1 tiles, one of them smaller than a tile, and a broken one among them."""
    images = [noise(130, 200, strength=200), noise(64, 70, strength=60), "truncated", noise(128, 140), noise(50, 64)]
    scored = list(score(tiny_detector, Given(images), "tiles64_top50", batch_size=batch_size))
    protocol = protocols.parse("tiles64_top50")
    for item, image in zip(scored, images, strict=True):
        if isinstance(image, str):
            assert (item.logit, item.error) == (None, "truncated")
            continue
        tiles = protocol(image)
        expected = protocol.logit(tiny_detector.logits(tiles))
        assert item.logit == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert tiny_detector(image, protocol="tiles64_top50").logit == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert len(protocol(images[0])) == 6


def test_an_unknown_protocol_is_refused(given_logits):
    with pytest.raises(UserError, match="crop_224"):
        list(score(given_logits, Given([Image.new("RGB", (32, 32))]), "crop_224"))


@given(st.integers(1, 1 << 16))
@example(1)
@example(7)
@example(256)
@example(257)
@settings(max_examples=300)
def test_a_padded_side_is_a_multiple_of_32_and_at_most_an_eighth_larger(side):
    padded = padded_side(side)
    assert padded % 32 == 0
    assert padded >= side
    assert padded - side <= max(31, side / 8)
    assert padded_side(padded) == padded


@given(st.integers(1, 1 << 16), st.integers(1, 1 << 16))
@settings(max_examples=200)
def test_a_larger_side_is_never_padded_to_less(first, second):
    small, large = sorted((first, second))
    assert padded_side(small) <= padded_side(large)


@pytest.mark.parametrize("octave", [256, 512, 1024, 2048])
def test_the_sides_of_an_octave_are_padded_to_eight(octave):
    assert len({padded_side(side) for side in range(octave + 1, 2 * octave + 1)}) == 8


def test_the_number_of_compiled_shapes_is_bounded_and_reported(tiny_detector, capsys):
    """300 images of 300 sizes give far fewer shapes: padded sides times padded row counts."""
    detector = Numbering(tiny_detector)
    sizes = np.random.default_rng(0).integers(129, 257, (300, 2)).tolist()
    scored = list(score(detector, Given(reds(sizes)), "native", batch_size=8))
    assert [item.logit for item in scored] == list(range(300))
    shapes = set(detector.seen)
    assert len({(height, width) for _, height, width in shapes}) == 4 * 4
    assert {rows for rows, _, _ in shapes} <= {1, 2, 4, 8}
    assert f"images went in batches of {len(shapes)} shapes" in capsys.readouterr().err
    assert sum(rows for rows, _, _ in detector.seen) < 2 * 300
    list(score(detector, Given(reds([(64, 64)] * 300)), "native", batch_size=8))
    assert capsys.readouterr().err == ""


def test_large_images_come_in_smaller_batches(given_logits):
    images = [Image.new("RGB", (512, 512))] * 8 + [Image.new("RGB", (128, 128))] * 8
    list(score(given_logits, Given(images), "native", batch_size=8))
    assert sorted(given_logits.seen) == [(2, 512, 512)] * 4 + [(8, 128, 128)]


def test_small_batches_cause_no_warnings(given_logits, caplog):
    list(score(given_logits, Given([Image.new("RGB", (32, 32))] * 3), "native", batch_size=1))
    assert [record.getMessage() for record in caplog.records] == []


def test_padded_rows_give_no_logits(tiny_detector, noise):
    """Three images in a batch of four rows give three logits."""
    scored = list(score(tiny_detector, Given([noise(64, 64, seed=s) for s in range(3)]), "native", batch_size=3))
    assert len(scored) == 3
    assert len({item.logit for item in scored}) == 3
