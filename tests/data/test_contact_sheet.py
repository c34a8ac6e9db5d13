"""`lfm data look`: the sheet shows what training sees, and names the images that it cannot show."""

import numpy as np
import pytest
from PIL import Image

from lfm_jax import config
from lfm_jax.cli import main
from lfm_jax.data import augmentations
from lfm_jax.data.contact_sheet import CAPTION, GAP, augmentation_sheet
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.transforms import augment
from lfm_jax.runtime.rng import Stream, host_rng


@pytest.fixture
def root(tmp_path, noise):
    for split in ("train", "val"):
        for label, name in enumerate(("0_real", "1_fake")):
            for index in range(3):
                path = tmp_path / "root" / split / "gan" / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise(60, 70, seed=2 * index + label).save(path)
    return tmp_path / "root"


def data_config():
    data = config.data()
    data.resize, data.crop, data.augment = 0, 48, augmentations.equalised()
    return data


def test_every_tile_is_an_augmented_image_pixel_for_pixel(root):
    source = open_folder(root / "train")
    sheet = np.asarray(augmentation_sheet(source, data_config(), seed=5, images=2, draws=3))
    for row, path in enumerate(("gan/0_real/0.png", "gan/1_fake/0.png")):
        image = Image.open(root / "train" / path).convert("RGB")
        for column in range(3):
            top, left = row * (48 + CAPTION + GAP) + CAPTION, column * (48 + GAP)
            expected = augment(image, data_config(), host_rng(5, Stream.AUGMENT, row * 3 + column))
            np.testing.assert_array_equal(sheet[top : top + 48, left : left + 48], np.asarray(expected))


def test_a_broken_image_does_not_hide_the_others(root):
    (root / "train/gan/0_real/0.png").write_bytes(b"no image")
    sheet = augmentation_sheet(open_folder(root / "train"), data_config(), seed=0, images=4)
    assert sheet.height == 3 * 48 + 4 * (CAPTION + GAP)


def test_the_command_writes_the_picture_and_says_where(root, tmp_path, capsys):
    preset = tmp_path / "preset.py"
    preset.write_text("from lfm_jax.config import base\n\n\ndef get_config():\n    return base()\n")
    out = tmp_path / "sheet.png"
    fields = ["steps=1", f"data.root={root}", "data.resize=0", "data.crop=48", "data.augment.jpeg.p=1.0"]
    arguments = [f"--config={preset}", f"--out={out}", "--images=4", "--draws=2", *[f"--config.{field}" for field in fields]]
    assert main(["data", "look", *arguments]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert Image.open(out).height == 4 * (48 + CAPTION + GAP)
    for impossible in ("nowhere/sheet.png", "sheet.text"):
        assert main(["data", "look", *arguments, f"--out={tmp_path / impossible}"]) == 2
        assert f"--out={tmp_path / impossible}" in capsys.readouterr().err
