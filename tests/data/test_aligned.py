"""Aligned fakes: made once, in the photograph's own container, and paired with it in a batch."""

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from lfm_jax import config
from lfm_jax.data import augmentations
from lfm_jax.data.images import decode
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.prepare.align import align, aligned_fake, decoded_by, drawn_decoder, fake_path
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.errors import DataError
from lfm_jax.runtime.rng import Stream, host_rng

SIDE = 64
FORMATS = {"a.png": {}, "b.jpg": {"quality": 83, "subsampling": 0}, "c.jpg": {"quality": 71}, "d.webp": {}}


def darker(image, noise, seed):
    """In place of a decoder: every value loses a tenth."""
    return image * 0.9


BANK = {"darker": darker, "brighter": lambda image, noise, seed: image * 1.1}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Four photographs of three formats and a fake, in the folders of two sources."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for name, options in FORMATS.items():
        file = root / ("camera" if name < "c" else "phone") / "0_real" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        smooth = np.kron(rng.integers(30, 220, (8, 8, 3)), np.ones((SIDE // 8, SIDE // 8, 1)))
        Image.fromarray((smooth + rng.integers(0, 20, smooth.shape)).astype(np.uint8)).save(file, **options)
    fake = root / "camera" / "1_fake" / "e.png"
    fake.parent.mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(fake)
    return root


@pytest.fixture(scope="module")
def fakes(photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("fakes")
    results = list(align(open_folder(photographs), out, {"darker": darker}, seed=0, max_pixels=1 << 20))
    return out, {result.path: result.state for result in results}


def test_every_photograph_gets_a_fake_or_a_reason(fakes):
    out, states = fakes
    made = {path for path, state in states.items() if state == "made"}
    assert made == {"camera/0_real/a.png", "camera/0_real/b.jpg", "phone/0_real/c.jpg"}
    assert "WEBP" in states["phone/0_real/d.webp"]
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob("1_fake/*")) == sorted(fake_path(path) for path in made)


def test_a_fake_has_the_container_of_its_photograph(fakes, photographs):
    out, states = fakes
    for path, state in states.items():
        if state != "made":
            continue
        with Image.open(photographs / path) as photograph, Image.open(out / fake_path(path)) as fake:
            assert (photograph.format, photograph.size, photograph.mode) == (fake.format, fake.size, fake.mode)
            if photograph.format == "JPEG":
                assert photograph.quantization == fake.quantization
                assert JpegImagePlugin.get_sampling(photograph) == JpegImagePlugin.get_sampling(fake)


def test_a_second_run_makes_only_what_is_missing(photographs, fakes, tmp_path):
    source = open_folder(photographs)
    first = list(align(source, tmp_path, BANK, seed=0, max_pixels=1 << 20))
    missing = tmp_path / "camera/1_fake/b.jpg"
    content = missing.read_bytes()
    missing.unlink()
    second = {result.path: result.state for result in align(source, tmp_path, BANK, seed=0, max_pixels=1 << 20)}
    assert second == {result.path: result.state for result in first} | {
        "camera/0_real/a.png": "there already",
        "camera/0_real/b.jpg": "made",
        "phone/0_real/c.jpg": "there already",
    }
    assert missing.read_bytes() == content


def test_too_large_a_photograph_is_left_out_by_name(photographs, tmp_path):
    results = list(align(open_folder(photographs), tmp_path, BANK, seed=0, max_pixels=SIDE * SIDE - 1))
    assert all("--max_pixels" in result.state for result in results)


def test_the_decoders_grid_noise_and_share_are_drawn(photographs):
    photograph = decode(photographs / "camera/0_real/a.png")
    seen = []

    def watched(image, noise, seed):
        seen.append((image.shape, noise, seed))
        return image * 0.9

    fakes = [np.asarray(aligned_fake(photograph, watched, host_rng(0, Stream.ALIGN, index))) for index in range(40)]
    shapes, noises, seeds = zip(*seen, strict=True)
    assert len(set(shapes)) > 20
    assert 10 < sum(noise == 0 for noise in noises) < 30
    assert max(noises) <= 0.1
    assert len(set(seeds)) == 40
    brightness = {round(float(fake.mean()), 1) for fake in fakes}
    assert 10 < len(brightness) < 40  # half have a drawn share of the photograph, half have none


def test_each_photograph_gets_the_decoder_that_its_path_draws(photographs, tmp_path):
    source = open_folder(photographs)
    list(align(source, tmp_path, BANK, seed=0, max_pixels=1 << 20))
    noted = decoded_by(tmp_path)
    assert len(noted) == 3
    for path, name in noted.items():
        assert name == drawn_decoder(path, reversed(BANK))
        means = [np.asarray(decode(root / place)).mean() for root, place in ((tmp_path, fake_path(path)), (photographs, path))]
        assert (means[0] < means[1]) == (name == "darker")


def test_a_further_decoder_takes_only_its_share():
    paths = [f"camera/0_real/{number}.png" for number in range(600)]
    before = [drawn_decoder(path, ("a", "b")) for path in paths]
    after = [drawn_decoder(path, ("a", "b", "c")) for path in paths]
    assert 250 < before.count("a") < 350
    assert 150 < after.count("c") < 250
    assert all(new in (old, "c") for old, new in zip(before, after, strict=True))


def test_a_run_that_was_killed_while_it_noted_a_decoder_goes_on(photographs, tmp_path):
    source = open_folder(photographs)
    first = list(align(source, tmp_path, BANK, seed=0, max_pixels=1 << 20))
    notes, noted = tmp_path / "decoders.tsv", decoded_by(tmp_path)
    last = first[2].path
    (tmp_path / fake_path(last)).unlink()  # its line was cut off, and the fake not yet written
    notes.write_text(notes.read_text()[:-3])
    list(align(source, tmp_path, BANK, seed=0, max_pixels=1 << 20))
    assert decoded_by(tmp_path) == noted
    assert (tmp_path / fake_path(last)).is_file()


def data_config(root, fakes, **fields):
    data = config.data()
    data.update({"root": str(root), "resize": 0, "crop": 24, "threads": 1, **fields})
    data.aligned.root, data.aligned.share = str(fakes), 1.0
    return data


def test_both_halves_of_a_pair_are_cut_flipped_and_degraded_alike(photographs, fakes):
    data = data_config(photographs, fakes[0])
    data.augment = augmentations.as_files_are()
    pipeline = TrainPipeline(open_folder(photographs), data, seed=0)
    for position in range(0, 40, 2):
        real, fake = pipeline[position], pipeline[position + 1]
        assert (real["label"], fake["label"]) == (0, 1)
        assert real["index"] == fake["index"]
        # JPEG changes single values; if crop or flip differed, so would the whole picture.
        before, after = (example["image"].astype(float).ravel() for example in (real, fake))
        assert np.corrcoef(before, after)[0, 1] > 0.95
        assert 0.85 < after.mean() / before.mean() < 1.0


def test_each_pair_draws_one_of_the_fakes_of_its_photograph(photographs, fakes, tmp_path):
    list(align(open_folder(photographs), tmp_path, {"brighter": BANK["brighter"]}, seed=0, max_pixels=1 << 20))
    (tmp_path / "phone/1_fake/c.jpg").unlink()  # a photograph with one fake
    data = data_config(photographs, f"{fakes[0]}, {tmp_path}", balance="source", cache_mib=1)
    pipeline = TrainPipeline(open_folder(photographs), data, seed=0)
    darker_share = {}
    for position in range(0, 200, 2):
        real, fake = pipeline[position], pipeline[position + 1]
        assert real["index"] == fake["index"]
        is_darker = fake["image"].mean() < real["image"].mean()
        darker_share.setdefault(pipeline.source.examples[real["index"]].path, []).append(is_darker)
        assert np.array_equal(fake["image"], pipeline[position + 1]["image"])
    assert all(darker_share.pop("phone/0_real/c.jpg"))
    assert len(darker_share) == 2
    assert all(0.25 < np.mean(drawn) < 0.75 for drawn in darker_share.values())


def test_pairs_take_their_share_of_the_positions(photographs, fakes):
    data = data_config(photographs, fakes[0], balance="source")
    data.aligned.share = 0.25
    pipeline = TrainPipeline(open_folder(photographs), data, seed=0)
    starts = range(0, 800, 2)
    paired = [pipeline[position]["index"] == pipeline[position + 1]["index"] for position in starts]
    assert 0.18 < np.mean(paired) < 0.32
    assert all((pipeline[position]["label"], pipeline[position + 1]["label"]) == (0, 1) for position in starts)


def test_pairs_are_degraded_by_an_augmentation_of_their_own(photographs, fakes):
    data = data_config(photographs, fakes[0], flip=False)
    data.crop = SIDE
    data.augment.noise.p, data.augment.noise.sigma = 1.0, (8.0, 8.0)
    pipeline = TrainPipeline(open_folder(photographs), data, seed=0)
    pixels, index = pipeline[0]["image"], int(pipeline[0]["index"])
    np.testing.assert_array_equal(pixels, np.asarray(pipeline.source.image(index)))


def test_a_folder_without_fakes_is_named(photographs, fakes, tmp_path):
    for folders in (tmp_path, f"{fakes[0]},{tmp_path}"):
        with pytest.raises(DataError, match=rf"config\.data\.aligned\.root = .* in '{tmp_path}'; make them with lfm data align"):
            TrainPipeline(open_folder(photographs), data_config(photographs, folders), seed=0)


def test_a_decoder_that_changes_nothing_gives_the_photograph_itself(photographs):
    photograph = decode(photographs / "camera/0_real/a.png")
    for index in range(8):
        same = aligned_fake(photograph, lambda image, noise, seed: image, host_rng(0, Stream.ALIGN, index))
        np.testing.assert_array_equal(np.asarray(same), np.asarray(photograph))
