"""Stored pixels: training from them gives the bits of training from the files, and what does not fit is refused."""

import pickle

import numpy as np
import pytest

from lfm_jax import config
from lfm_jax.data.images import ImageError
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources import records
from lfm_jax.data.sources.open import open_split
from lfm_jax.data.sources.pixels import pixels_file, store_pixels
from lfm_jax.errors import ConfigError, DataError

SIDE, IMAGES = 32, 12


@pytest.fixture(scope="module")
def out(noise, tmp_path_factory):
    root, out = (tmp_path_factory.mktemp(name) for name in ("data", "out"))
    for split, group, label in [(s, g, name) for s in ("train", "val") for g in "ab" for name in ("0_real", "1_fake")]:
        folder = root / split / group / label
        folder.mkdir(parents=True)
        for index in range(3):
            noise(40 + 7 * index, 52, seed=index).save(folder / f"{index}.{('png', 'jpg', 'webp')[index]}")
    prepare_folder(root, out)
    store_pixels(records.find_one_prepared(out), SIDE, threads=2)
    return out


def data_config(out, **fields):
    data = config.data()
    data.update({"source": "tfds", "root": str(out), "resize": SIDE, "crop": 24, "threads": 2, "prefetch": 2, **fields})
    return data


@pytest.mark.parametrize("fields", [{}, {"crop": 0}, {"classes": "b"}, {"workers": 1}, {"cache_mib": 1}], ids=str)
def test_training_from_them_gives_the_bits_of_the_files(fields, out):
    files, stored = (data_config(out, pixels=side, **fields) for side in (0, SIDE))
    for data in (files, stored):
        data.augment.noise.p, data.augment.blur.p, data.augment.after_resize = 0.5, 0.5, True
    batches = [TrainPipeline(open_split(data, "train", seed=0), data, seed=1).batches(0, 5, 4) for data in (files, stored)]
    for ours, theirs in zip(*batches, strict=True):
        for name, values in ours.items():
            np.testing.assert_array_equal(theirs[name], values)


def test_no_file_is_decoded_and_only_training_reads_them(out, monkeypatch):
    stored = open_split(data_config(out, pixels=SIDE), "train", seed=0)
    validation = open_split(data_config(out, pixels=SIDE), "val", seed=0)
    assert validation.image(0).size == (52, 40)
    assert stored.encoded(0) == open_split(data_config(out), "train", seed=0).encoded(0)
    monkeypatch.setattr(records, "decode_bytes", None)
    assert stored.image(3).size == (SIDE, SIDE)


def test_a_worker_process_is_not_sent_the_pixels(out):
    source = open_split(data_config(out, pixels=SIDE), "train", seed=0)
    with open(pixels_file(records.find_one_prepared(out), SIDE), "rb") as file:
        size = len(file.read())
    assert size >= IMAGES * SIDE * SIDE * 3
    assert len(pickle.dumps(source)) < size / 2
    assert pickle.loads(pickle.dumps(source)).image(5).tobytes() == source.image(5).tobytes()


def test_a_damaged_pixel_is_noticed_and_storing_again_keeps_what_fits(out):
    file = pixels_file(records.find_one_prepared(out), SIDE)
    whole, written = file.read_bytes(), file.stat().st_mtime_ns
    assert store_pixels(file.parent, SIDE, threads=2).stat().st_mtime_ns == written
    try:
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ImageError, match="are damaged"):
            open_split(data_config(out, pixels=SIDE), "train", seed=0).image(IMAGES - 1)
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"pixels32_train.npy .*run lfm data prepare --pixels=32"):
            open_split(data_config(out, pixels=SIDE), "train", seed=0)
        description = file.with_suffix(".json").read_text()
        file.write_bytes(whole)
        file.with_suffix(".json").write_text(description.replace('"source": "', '"source": "0'))
        with pytest.raises(DataError, match="not made of the records beside it"):
            open_split(data_config(out, pixels=SIDE), "train", seed=0)
        store_pixels(file.parent, SIDE, threads=2)
        assert file.read_bytes() == whole
    finally:
        store_pixels(file.parent, SIDE, threads=2)


def test_a_side_that_is_not_stored_is_named(out):
    with pytest.raises(DataError, match=r"there is no .*pixels48_train.npy: run lfm data prepare --pixels=48"):
        open_split(data_config(out, pixels=48, resize=48), "train", seed=0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("resize", 64, r"config\.data\.resize = 64 differ"),
        ("source", "folder", "is for config.data.source = 'tfds'"),
        ("hold_out", "a", "stores training images only"),
        ("augment.noise.p", 0.1, r"set config\.data\.augment\.after_resize = True"),
    ],
)
def test_what_would_give_other_images_is_refused(field, value, message):
    run = config.base()
    run.steps, run.data.source, run.data.pixels, run.data.resize = 1, "tfds", 256, 256
    run.data.augment.after_resize = False
    config.validate(run)
    run.data.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=message):
        config.validate(run)
