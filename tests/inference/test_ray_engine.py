"""`lfm predict --engine=ray`: the parts that one process would write, handed out to actors."""

import importlib.util
import json
import sys

import pytest

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra [ray]")


@pytest.fixture
def images(noise, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(12):
        noise(64, 64 - index % 3, seed=index, strength=20 if index % 2 else 255).save(folder / f"{index:02d}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    return folder


@needs_ray
@pytest.mark.slow
@pytest.mark.full
def test_two_actors_write_the_parts_that_one_process_writes_to_the_bit(lfm, weights_file, images, tmp_path):
    import ray

    command = ["predict", "--weights", weights_file, images, "--parts=5"]
    assert lfm(*command, f"--out={tmp_path / 'alone'}").status == 3
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        kept = tmp_path / "ray" / "part-00002-of-00005.jsonl"
        ran = lfm(*command, "--engine=ray:2", f"--out={tmp_path / 'ray'}")
        assert (ran.status, "broken.jpg: " in ran.err) == (3, True)
        contents = [{part.name: part.read_text() for part in (tmp_path / one).iterdir()} for one in ("alone", "ray")]
        assert contents[0] == contents[1]
        assert len(contents[0]) == 6
        kept.write_text("kept\n")
        (tmp_path / "ray" / "part-00003-of-00005.jsonl").unlink()
        again = lfm(*command, "--engine=ray:2", f"--out={tmp_path / 'ray'}")
        assert "4 of 5 parts are there already" in again.err
        assert kept.read_text() == "kept\n"
        assert (tmp_path / "ray" / "part-00003-of-00005.jsonl").read_text() == contents[0]["part-00003-of-00005.jsonl"]
    finally:
        ray.shutdown()
    totals = lfm("predict", "--collect", tmp_path / "alone")
    assert json.dumps(totals.out).count("13 images") == 1


def test_an_engine_takes_parts_and_a_known_name(lfm, weights_file, images):
    assert "--parts=N" in lfm("predict", "--weights", weights_file, images, "--engine=ray", "--out=parts").err
    assert "expected ray, or ray:N" in lfm("predict", images, "--engine=beam").err
    assert "expected ray, or ray:N" in lfm("predict", images, "--engine=ray:two").err


def test_without_ray_one_line_names_the_extra(lfm, weights_file, images, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = lfm("predict", "--weights", weights_file, images, "--engine=ray", "--parts=2", f"--out={tmp_path / 'parts'}")
    assert (ran.status, ran.err) == (2, "lfm predict: --engine=ray takes Ray: pip install 'lfm_jax[ray]'\n")
