"""Groups that are held out: a run lists its training images once, and gets the splits that each would be alone."""

import pytest

from lfm_jax import config
from lfm_jax.data.sources import SOURCES
from lfm_jax.data.sources.open import open_split, open_training
from lfm_jax.errors import DataError


@pytest.fixture
def data(noise, tmp_path):
    for split, groups in {"train": ("car", "cat", "dog"), "val": ("car",)}.items():
        for group in groups:
            for label in ("0_real", "1_fake"):
                folder = tmp_path / split / group / label
                folder.mkdir(parents=True)
                noise(5, 4).save(folder / "1.png")
    data = config.data()
    data.update(source="folder", root=str(tmp_path), hold_out="cat")
    return data


@pytest.fixture
def opened(monkeypatch):
    """The splits that the folder source was asked for, in their order."""
    splits, open_folder = [], SOURCES.choose("folder")
    monkeypatch.setattr(
        SOURCES, "choose", lambda _: lambda data, split, *, seed: (splits.append(split), open_folder(data, split, seed=seed))[1]
    )
    return splits


@pytest.mark.parametrize("hold_out", ["", "cat"])
def test_a_run_lists_each_split_once_and_gets_what_each_would_be_alone(data, opened, hold_out):
    data.hold_out = hold_out
    train, val = open_training(data, seed=0)
    assert opened == ["train", "val"]
    for source, split in ((train, "train"), (val, "val")):
        alone = open_split(data, split, seed=0)
        assert (source.name, source.examples) == (alone.name, alone.examples)


def test_a_run_is_refused_where_one_split_has_one_label(data):
    data.hold_out = "car,cat,dog"
    with pytest.raises(DataError, match="images of one label only"):
        open_training(data, seed=0)
