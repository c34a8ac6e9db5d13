"""The tables of several detectors on the same images."""

import pytest
from PIL import Image

from benchmarks import peers
from lfm_jax.evaluation.saved import read_evaluation


@pytest.fixture
def saved(lfm, weights_file, tmp_path):
    """The folder of images, and an evaluation of it: PNG and JPEG of a photograph and a fake each."""
    for folder, level in (("0_real", 60), ("1_fake", 200)):
        (tmp_path / "test/maker" / folder).mkdir(parents=True)
        for suffix in ("png", "jpg"):
            Image.effect_noise((64, 64), level).convert("RGB").save(tmp_path / "test/maker" / folder / f"one.{suffix}")
    ran = lfm(
        "evaluate", f"--weights={weights_file}", f"--data={tmp_path / 'test'}", "--protocol=native", f"--out={tmp_path / 'w'}"
    )
    assert ran.status == 0, ran.err
    return tmp_path / "test", read_evaluation(tmp_path / "w")


def test_images_are_counted_by_view_by_format_and_by_folder(saved):
    root, evaluation = saved
    views, formats, folders = (rows for _title, _heads, rows in peers.tables([evaluation], root))
    assert [row[:5] for row in views] == [["w", "native", "as_is", "2", "2"]]
    assert {row[1]: row[2:4] for row in formats} == {
        "PNG": ["1", "1"],
        "JPEG and WebP": ["1", "1"],
        "lossy fakes, all photographs": ["2", "1"],
        "PNG fakes, JPEG photographs": ["1", "1"],
    }
    assert [row[:2] for row in folders] == [["maker", "2 JPEG/PNG"]]
    assert all(0 <= float(row[-1].split()[0]) <= 100 for row in (*views, *folders))
