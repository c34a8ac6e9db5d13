"""A cell of many images is stored in parts: an interrupted one goes on from those that are there, a damaged part is redone."""

import json

import pytest

from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation import cells as cells_lib
from lfm_jax.evaluation.cells import CellStore, data_hash
from lfm_jax.evaluation.evaluate import evaluate_network

IMAGES, PART = 10, 4  # three parts, the last of two images


@pytest.fixture
def source(save_with_logit, tmp_path):
    for index in range(IMAGES):
        save_with_logit(tmp_path / "root/gan" / ("0_real", "1_fake")[index % 2] / f"{index}.png", index - 4)
    return open_folder(tmp_path / "root")


@pytest.fixture
def expected(source, given_logits):
    """The evaluation as one part."""
    evaluation = evaluate_network(given_logits, source, ["native"])
    given_logits.seen.clear()
    return evaluation


@pytest.fixture
def cells(expected, source, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_lib, "PART_IMAGES", PART)
    return CellStore(tmp_path / "cells", data_hash(source, threads=2))


def files(cells):
    return sorted(cells.folder.iterdir(), key=lambda file: int(file.stem.split("-")[1]))


def images_seen(network):
    """Of batches of one."""
    return len(network.seen)


def test_the_parts_together_are_the_cell(cells, source, given_logits, expected):
    assert evaluate_network(given_logits, source, ["native"], batch_size=1, cells=cells) == expected
    assert len(files(cells)) == 3
    given_logits.seen.clear()
    assert evaluate_network(given_logits, source, ["native"], cells=cells) == expected
    assert given_logits.seen == []


def test_an_interrupted_cell_goes_on_from_its_parts(cells, source, given_logits, expected, monkeypatch):
    def interrupted(index, image=source.image):
        if index >= 6:
            raise KeyboardInterrupt
        return image(index)

    with monkeypatch.context() as patch:
        patch.setattr(type(source), "image", lambda _, index: interrupted(index))
        with pytest.raises(KeyboardInterrupt):
            evaluate_network(given_logits, source, ["native"], batch_size=1, threads=0, cells=cells)
    assert len(files(cells)) == 1
    given_logits.seen.clear()
    assert evaluate_network(given_logits, source, ["native"], batch_size=1, cells=cells) == expected
    assert images_seen(given_logits) == IMAGES - PART


DAMAGE = {
    "half": lambda data: data[: len(data) // 2],
    "one image fewer": lambda data: without(data, "scored"),
    "of other images": lambda data: data.replace(b'"index": 4', b'"index": 5'),
    "another logit": lambda data: data.replace(b'"logit": ', b'"logit": 1'),
}


def without(data, name):
    content = json.loads(data)
    content[name].pop()
    del content["sha256"]
    return json.dumps(content).encode()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_only_a_damaged_part_is_scored_again(damage, cells, source, given_logits, expected, capsys):
    evaluate_network(given_logits, source, ["native"], cells=cells)
    file = files(cells)[1]
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    given_logits.seen.clear()
    assert evaluate_network(given_logits, source, ["native"], batch_size=1, cells=cells) == expected
    assert images_seen(given_logits) == PART
    assert f"{file} is damaged" in capsys.readouterr().err
    assert file.read_bytes() == whole


def test_a_part_that_is_gone_or_of_other_images_is_never_made_up_for(cells, source, given_logits, expected):
    evaluate_network(given_logits, source, ["native"], cells=cells)
    first, second, third = files(cells)
    third.unlink()
    second.write_bytes(first.read_bytes())
    given_logits.seen.clear()
    assert evaluate_network(given_logits, source, ["native"], batch_size=1, cells=cells) == expected
    assert images_seen(given_logits) == IMAGES - PART


def test_a_whole_cell_of_an_earlier_version_is_used_for_many_images_too(cells, source, given_logits, expected, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cells_lib, "PART_IMAGES", IMAGES)
        evaluate_network(given_logits, source, ["native"], cells=cells)
    given_logits.seen.clear()
    assert evaluate_network(given_logits, source, ["native"], cells=cells) == expected
    assert given_logits.seen == []
