"""One file of a rare size among many equal ones neither holds back the results of predict nor lets them pile up."""

import os
import threading

import pytest
from PIL import Image

from lfm_jax.data.sources.base import Example
from lfm_jax.errors import WeightsError
from lfm_jax.inference.scoring import PATIENCE, score, score_together
from lfm_jax.weights import io as weights_io


class OddFirst:
    """`count` images of which the first has a size of its own; counts how many have been decoded."""

    name = "odd"

    def __init__(self, count):
        self.examples, self.decoded, self._lock = [Example(f"{index}.png") for index in range(count)], 0, threading.Lock()

    def image(self, index):
        with self._lock:
            self.decoded += 1
        return Image.new("RGB", (32, 64) if index == 0 else (32, 32), (100, 0, 0))


def test_results_come_long_before_the_last_image_is_decoded(given_logits):
    source, batch_size = OddFirst(2000), 4
    items = score(given_logits, source, "native", batch_size=batch_size, threads=2)
    assert next(items).index == 0
    assert source.decoded < (PATIENCE + 8) * batch_size + 50
    assert [item.index for item in items] == list(range(1, 2000))


def test_images_still_share_batches_with_later_ones_of_their_size(given_logits):
    score_together(given_logits, OddFirst(200), "native", batch_size=4)
    rows = [rows for rows, *_ in given_logits.seen]
    assert rows.count(4) >= 199 // 4
    assert len(rows) <= 199 // 4 + 2


@pytest.mark.parametrize("protocol", ["resize100000", "crop100000_pad", "resize4097_crop224", "resize" + "9" * 5000])
def test_a_protocol_that_makes_huge_images_is_refused_before_any_is_made(protocol, lfm, weights_file, noise, tmp_path):
    noise(64, 64).save(tmp_path / "a.png")
    ran = lfm("predict", "--weights", weights_file, f"--protocol={protocol}", tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert "4096 px" in ran.err or "unknown protocol" in ran.err


def test_a_large_crop_without_padding_is_only_the_whole_image(given_logits):
    (item, *_) = score(given_logits, OddFirst(3), "crop100000")
    assert item.logit == 0


def test_a_pipe_as_weights_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="a pipe or a device"):
        weights_io.load(tmp_path / "w.pth")
