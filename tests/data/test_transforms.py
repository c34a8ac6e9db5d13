"""Augmentations: drawn from seed and position alone, within their ranges, independent of each other and of labels."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from lfm_jax import config
from lfm_jax.data import augmentations, synthetic, transforms
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.base import Example
from lfm_jax.data.transforms import ORDER, augment, degrade, draw_degradations
from lfm_jax.errors import ConfigError
from lfm_jax.runtime.rng import Stream, host_rng


def with_probabilities(**probabilities):
    """An augmentation config with these probabilities."""
    augment = augmentations.none()
    for name, p in probabilities.items():
        augment[name].p = p
    return augment


def data_config(augment=None, **fields):
    data = config.data()
    data.update({"resize": 0, "crop": 48, **fields})
    data.augment = augment or augmentations.none()
    return data


EVERYTHING = dict.fromkeys(ORDER, 1.0)


def as_in_old_runs(image, data, rng):
    """Resize, crop and flip as the first version drew them, in plain numpy."""
    if data.resize:
        image = image.resize((data.resize, data.resize), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    if data.crop:
        top, left = rng.integers(pixels.shape[0] - data.crop + 1), rng.integers(pixels.shape[1] - data.crop + 1)
        pixels = pixels[top : top + data.crop, left : left + data.crop]
    return pixels[:, ::-1] if data.flip and rng.random() < 0.5 else pixels


@pytest.mark.parametrize("fields", [{}, {"crop": 0}, {"resize": 64}, {"resize": 64, "crop": 0}, {"flip": False}])
def test_with_everything_off_crops_and_flips_are_the_ones_of_old_runs(noise, fields):
    data = data_config(**fields)
    for position in range(20):
        image = noise(70, 61, seed=position)
        augmented = augment(image, data, host_rng(3, Stream.AUGMENT, position))
        np.testing.assert_array_equal(np.asarray(augmented), as_in_old_runs(image, data, host_rng(3, Stream.AUGMENT, position)))


@pytest.mark.parametrize("resize", [32, 50, 64])
def test_pixels_outside_the_crop_need_not_be_made_to_get_those_within(noise, resize):
    rng = np.random.default_rng(resize)
    for height, width in [(resize, resize), (64, 64), (90, resize), *rng.integers(8, 300, (60, 2)).tolist()]:
        image, data = noise(height, width), data_config(resize=resize, crop=int(rng.integers(1, resize + 1)))
        expected = as_in_old_runs(image, data, host_rng(1, Stream.AUGMENT, width))
        np.testing.assert_array_equal(augment(image, data, host_rng(1, Stream.AUGMENT, width)), expected)


def test_without_probabilities_the_image_is_returned_untouched(noise):
    image = noise(20, 30)
    assert degrade(image, augmentations.none(), np.random.default_rng(0)) is image
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    degrade(image, with_probabilities(noise=1.0), rng)
    assert rng.random() == untouched.random()


@pytest.mark.parametrize("after_resize", [True, False])
def test_the_same_position_gives_the_same_bytes_and_another_does_not(noise, after_resize):
    data = data_config(with_probabilities(**EVERYTHING), resize=64)
    data.augment.after_resize = after_resize
    first, again, other = (augment(noise(90, 80), data, host_rng(0, Stream.AUGMENT, position)).tobytes() for position in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", ORDER)
def test_turning_one_on_changes_no_draw_of_another(name):
    rest = {other: 0.5 for other in ORDER if other != name}
    for seed in range(50):
        without = draw_degradations(with_probabilities(**rest), np.random.default_rng(seed))
        beside = draw_degradations(with_probabilities(**rest, **{name: 1.0}), np.random.default_rng(seed))
        assert name in beside
        assert without == {other: amount for other, amount in beside.items() if other != name}


def test_turning_one_on_changes_neither_crop_nor_flip():
    """Brightness identifies each pixel: the noise is far below the steps between pixels."""
    rows, columns = np.indices((60, 60))
    image = Image.fromarray(np.stack([4 * rows, 4 * columns, 0 * rows], -1).astype(np.uint8))
    noisy = with_probabilities(noise=1.0)
    noisy.noise.sigma = (0.2, 0.2)
    for position in range(30):
        plain, touched = (
            np.asarray(augment(image, data_config(preset), host_rng(0, Stream.AUGMENT, position))).astype(int)
            for preset in (augmentations.none(), noisy)
        )
        assert 0 < np.abs(plain - touched).max() <= 2


@pytest.mark.parametrize(("name", "amount"), [("scale", "factor"), ("blur", "sigma"), ("noise", "sigma"), ("jpeg", "quality")])
def test_strengths_fill_their_range_and_stay_in_it(name, amount):
    augment = with_probabilities(**{name: 1.0})
    low, high = augment[name][amount]
    strengths = [draw_degradations(augment, np.random.default_rng(seed))[name] for seed in range(2000)]
    assert low <= min(strengths) < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < max(strengths) <= high
    middle = np.sqrt(low * high) if name == "scale" else (low + high) / 2
    assert np.mean(np.asarray(strengths) < middle) == pytest.approx(0.5, abs=0.05)


def test_qualities_are_whole_and_both_ends_are_drawn():
    augment = with_probabilities(webp=1.0)
    augment.webp.quality = (80, 83)
    qualities = [draw_degradations(augment, np.random.default_rng(seed))["webp"] for seed in range(400)]
    assert {quality: qualities.count(quality) > 60 for quality in set(qualities)} == dict.fromkeys((80, 81, 82, 83), True)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_cnndetections_blur_and_jpeg_are_independent_and_have_its_probability(p):
    augment = augmentations.cnndetection(p)
    draws = [draw_degradations(augment, np.random.default_rng(seed)) for seed in range(3000)]
    shares = [np.mean([names <= draw.keys() for draw in draws]) for names in ({"blur"}, {"jpeg"}, {"blur", "jpeg"})]
    assert shares == pytest.approx([p, p, p * p], abs=0.03)
    assert {name for draw in draws for name in draw} == {"blur", "jpeg"}


def test_blur_is_scipys_on_each_channel(noise):
    expected = np.stack([gaussian_filter(channel, 1.7) for channel in np.moveaxis(np.asarray(noise(40, 30)), -1, 0)], -1)
    np.testing.assert_array_equal(np.asarray(transforms.blur(noise(40, 30), 1.7)), expected)


@pytest.mark.parametrize(("name", "file_format"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_re_encoding_is_saving_and_reading_back(noise, name, file_format):
    file = io.BytesIO()
    noise(40, 30).save(file, file_format, quality=71)
    reencoded = getattr(transforms, name)(noise(40, 30), 71)
    np.testing.assert_array_equal(np.asarray(reencoded), np.asarray(Image.open(file).convert("RGB")))


def test_noise_has_the_strength_asked_for_and_no_bias():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    added = np.asarray(transforms.noise(grey, 5.0, np.random.default_rng(0))).astype(float) - 128
    assert added.std() == pytest.approx(5.0, rel=0.02)
    assert abs(added.mean()) < 0.1


def test_scaling_keeps_the_aspect_and_what_the_crop_needs(noise):
    assert transforms.scale(noise(40, 60), 0.5).size == (30, 20)
    assert transforms.scale(noise(40, 60), 2.0).size == (120, 80)
    assert min(transforms.scale(noise(40, 60), 0.1, min_side=24).size) == 24
    assert transforms.scale(noise(20, 60), 0.5, min_side=24).size == (60, 20)  # below it already: not shrunk further


def test_an_image_too_long_for_a_format_is_not_re_encoded():
    long = Image.new("RGB", (20_000, 2), (1, 2, 3))
    assert transforms.webp(long, 50) is long


def photographs(count):
    return [synthetic.example(0, "train", 2 * index, 96)[0] for index in range(count)]


def as_jpeg(pixels, quality):
    return transforms.jpeg(Image.fromarray(pixels), quality)


def blockiness(image):
    """Ratio of the steps across borders of 8 x 8 blocks to all other steps: the trace that JPEG leaves."""
    steps = np.abs(np.diff(np.asarray(image).astype(float), axis=1)).mean((0, 2))
    return steps[7::8].mean() / np.delete(steps, np.s_[7::8]).mean()


def test_equalised_real_and_fake_differ_far_less_in_their_traces_of_format():
    """The same pictures as JPEG (real) and as PNG (fake): they differ in nothing but the format."""
    pictures = photographs(60)
    files = [as_jpeg(pixels, 75) for pixels in pictures] + [Image.fromarray(pixels) for pixels in pictures]
    labels = [0] * len(pictures) + [1] * len(pictures)
    before = roc_auc_score(labels, [-blockiness(image) for image in files])
    augment = augmentations.equalised()
    after = [degrade(image, augment, host_rng(0, Stream.AUGMENT, position)) for position, image in enumerate(files)]
    assert before > 0.9
    assert abs(roc_auc_score(labels, [-blockiness(image) for image in after]) - 0.5) < abs(before - 0.5) / 2


class Labelled:
    """The same picture for every index, with the labels given."""

    name = "labelled"

    def __init__(self, picture, labels):
        self.examples = [Example(str(index), label) for index, label in enumerate(labels)]
        self.picture = picture

    def image(self, index):
        return self.picture


@pytest.mark.parametrize("preset", [augmentations.cnndetection(), augmentations.equalised(), with_probabilities(**EVERYTHING)])
def test_labels_have_no_influence(noise, preset):
    real, fake = (TrainPipeline(Labelled(noise(64, 64), [label] * 6), data_config(preset), seed=0) for label in (0, 1))
    for position in range(12):
        np.testing.assert_array_equal(real[position]["image"], fake[position]["image"])


@pytest.mark.parametrize("preset", [augmentations.none(), augmentations.cnndetection(0.1), augmentations.equalised()])
def test_presets_are_accepted(preset):
    augmentations.check(preset, "config.data.augment")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blur.p", 1.5),
        ("jpeg.p", -0.1),
        ("jpeg.quality", (90, 30)),
        ("webp.quality", (30, 101)),
        ("scale.factor", (0.0, 1.0)),
        ("noise.sigma", (-1.0, 2.0)),
        ("blur.sigma", (0.0, float("inf"))),
    ],
)
def test_impossible_values_are_refused_with_the_field_and_the_value(field, value):
    mistaken = config.base()
    mistaken.steps = 1
    name, part = field.split(".")
    mistaken.data.augment[name][part] = value
    with pytest.raises(ConfigError) as error:
        config.validate(mistaken)
    assert f"config.data.augment.{field} = {value}" in str(error.value)


def test_a_run_from_before_augmentations_resumes_unless_one_is_turned_on():
    now = config.base()
    saved = now.to_dict()
    del saved["data"]["augment"]
    config.check_same_run(saved, now)
    now.data.augment = augmentations.equalised()
    with pytest.raises(ConfigError, match=r"config\.data\.augment\.jpeg\.p: 0\.0 there, 0\.65 now"):
        config.check_same_run(saved, now)


@pytest.mark.parametrize("save", [transforms.jpeg, transforms.webp], ids=["jpeg", "webp"])
def test_threads_that_save_one_image_each_get_their_own_quality(save):
    image = Image.effect_noise((400, 400), 60).convert("RGB")  # which takes long enough to save
    qualities = (30, 90) * 30
    expected = {quality: np.asarray(save(image.copy(), quality)) for quality in set(qualities)}
    with ThreadPoolExecutor(8) as threads:
        for quality, saved in zip(qualities, threads.map(lambda quality: save(image, quality), qualities), strict=True):
            np.testing.assert_array_equal(np.asarray(saved), expected[quality])
