"""A source of the user's own: registered in a file, chosen by its name, it trains and its test split is scored."""

import json

import pytest

from lfm_jax import config as config_lib
from lfm_jax.data.sources import open_split, open_test_split
from lfm_jax.errors import ConfigError
from lfm_jax.runtime.registry import import_parts

PARTS = """
from PIL import Image

from lfm_jax.data.sources import SOURCES, Example, MissingSplitError


class Stripes:
    def __init__(self, name, count):
        self.name = name
        self.examples = [Example(f"{index}.png", index % 2, "own", "stripes") for index in range(count)]

    def image(self, index):
        image = Image.new("RGB", (64, 64), (index, 2 * index, 3 * index))
        image.paste((200, 100, 50), (index % 32, 0, 48, 64))
        return image

    def encoded(self, index):
        return None

    def content_hash(self, index):
        return f"{self.name} {index}"


@SOURCES.register("stripes")
def open_stripes(config, split, *, seed):
    sizes = {"train": 16, "val": 8, "test": 6}
    if config.root == "without a test split" and split == "test":
        raise MissingSplitError("no test stripes")
    return Stripes(f"stripes/{split}", sizes[split])
"""

PRESET = """
from lfm_jax.config import base


def get_config():
    config = base()
    config.steps, config.batch_size = 2, 8
    config.model.widths, config.model.maps, config.model.pooling.k = (4, 8, 8, 8), 4, 4
    config.data.source, config.data.resize, config.data.crop = "stripes", 0, 48
    config.eval.protocol = "native"
    return config
"""


@pytest.fixture
def parts(tmp_path):
    """A file that registers the source."""
    path = tmp_path / "parts.py"
    path.write_text(PARTS)
    return path


def test_it_trains_and_is_evaluated_from_the_command_line(parts, lfm, tmp_path):
    preset, workdir = tmp_path / "preset.py", tmp_path / "run"
    preset.write_text(PRESET)
    ran = lfm("train", f"--import={parts}", f"--config={preset}", f"--workdir={workdir}")
    assert ran.status == 0, ran.err
    results = json.loads((workdir / "test/best/results.json").read_text())
    assert ("stripes", 3, 3) in [(row["generator"], row["n_real"], row["n_fake"]) for row in results["rows"]]
    assert "stripes" in ran.out


def test_a_name_nobody_registered_is_refused_with_the_names_there_are():
    config = config_lib.base()
    config.steps, config.data.source = 1, "strips"
    with pytest.raises(ConfigError, match=r"config\.data\.source = 'strips'.*folder, list, tfds, synthetic.*--import=FILE\.py"):
        config_lib.validate(config)


def test_a_source_that_has_no_test_split_says_so_when_asked(parts):
    import_parts(str(parts))
    data = config_lib.data()
    data.source, data.root = "stripes", "without a test split"
    assert len(open_split(data, "train", seed=0).examples) == 16
    assert open_test_split(data, seed=0) is None
