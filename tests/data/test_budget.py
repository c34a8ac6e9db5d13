"""Decoded pixels under way are limited in bytes for the whole process, and nobody waits for ever."""

import io
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data import images
from lfm_jax.data.budget import BUDGET, Budget, size_of
from lfm_jax.data.images import ImageError, decode_bytes
from lfm_jax.data.prefetch import read_ahead, read_stream
from lfm_jax.data.protocols import parse

MIB = 1 << 20


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr(BUDGET, "limit", 32 * MIB)
    before = BUDGET.used
    yield BUDGET.limit
    assert BUDGET.used == before  # all is given back


def read_by(kind, read, count, **options):
    return read_ahead(read, count, **options) if kind == "ahead" else read_stream(read, range(count), **options)


KINDS = pytest.mark.parametrize("kind", ["ahead", "stream"])


class Decoder:
    """Stands for decoding: `cost` bytes for a moment, and `result` bytes of pixels. Notes the most at one time."""

    def __init__(self, cost, result):
        self.cost, self.result = cost, result
        self.started, self.decoding, self.most = 0, 0, 0
        self._lock = threading.Lock()

    def __call__(self, number):
        with BUDGET.decoding(self.cost):
            with self._lock:
                self.started += 1
                self.decoding += self.cost
                self.most = max(self.most, self.decoding)
            time.sleep(0.002)
            with self._lock:
                self.decoding -= self.cost
        return number, np.zeros(self.result, np.uint8)


@KINDS
def test_decodes_under_way_stay_within_the_limit_but_for_the_one_awaited(kind, limit):
    decoder = Decoder(10 * MIB, 10)
    values = read_by(kind, decoder, 50, threads=8, ahead=16)
    assert [number for number, _ in values] == list(range(50))
    assert decoder.most <= limit + decoder.cost


@KINDS
def test_large_values_are_not_read_ahead_beyond_the_limit(kind, limit):
    decoder = Decoder(8 * MIB, 8 * MIB)
    values = read_by(kind, decoder, 50, threads=8, ahead=40)
    for taken in range(1, 6):
        next(values)
        time.sleep(0.1)  # for the threads to get as far as they may
        assert decoder.started <= taken + limit // (8 * MIB) + 1
    values.close()


@KINDS
def test_many_small_values_are_read_ahead_as_before(kind, limit):
    decoder = Decoder(MIB // 2, MIB // 2)
    values = read_by(kind, decoder, 200, threads=4, ahead=100)
    next(values)
    end = time.monotonic() + 30  # on a busy machine
    while decoder.started < 90 and time.monotonic() < end:
        time.sleep(0.01)
    assert decoder.started >= 90
    values.close()


@KINDS
@pytest.mark.parametrize("threads", [1, 3])
def test_values_larger_than_the_limit_come_one_after_the_other(kind, threads, limit):
    decoder = Decoder(2 * limit, 2 * limit)
    assert [number for number, _ in read_by(kind, decoder, 5, threads=threads, ahead=4)] == list(range(5))
    assert decoder.most <= 2 * decoder.cost


@KINDS
def test_a_reader_may_decode_and_read_ahead_between_two_values(kind, limit):
    outer, inner = Decoder(20 * MIB, 20 * MIB), Decoder(30 * MIB, 30 * MIB)
    for number, _ in read_by(kind, outer, 4, threads=2, ahead=3):
        inner(number)
        assert len(list(read_by(kind, inner, 3, threads=2, ahead=2))) == 3


@KINDS
def test_errors_and_readers_that_stop_early_give_back_what_they_took(kind, limit):
    def read(number):
        with BUDGET.decoding(8 * MIB):
            if number == 5:
                raise ValueError("number 5")
        return np.zeros(8 * MIB, np.uint8)

    with pytest.raises(ValueError, match="number 5"):
        list(read_by(kind, read, 10, threads=2, ahead=4))
    values = read_by(kind, Decoder(8 * MIB, 8 * MIB), 30, threads=4, ahead=20)
    next(values)
    values.close()
    time.sleep(0.2)  # for what was still being read


def test_decoding_an_image_is_counted_while_it_lasts(monkeypatch):
    costs = []
    monkeypatch.setattr(Budget, "add", lambda _, size: costs.append(size))
    for container, per_pixel in {"PNG": 8, "WEBP": 16}.items():
        file = io.BytesIO()
        Image.new("RGB", (512, 512)).save(file, container)
        decode_bytes(file.getvalue())
        assert costs == [per_pixel * 512**2, -per_pixel * 512**2]
        costs.clear()


def test_a_webp_is_refused_by_what_it_would_take_to_decode(monkeypatch):
    file = io.BytesIO()
    Image.new("RGB", (300, 200)).save(file, "WEBP", lossless=True)
    monkeypatch.setattr(images, "MAX_PIXELS_IN_PLANES", 300 * 200 - 1)
    with pytest.raises(ImageError, match="refused before decoding: 300 x 200"):
        decode_bytes(file.getvalue())


def test_a_crop_does_not_keep_the_whole_image_in_memory(noise):
    pixels = parse("crop32")(noise(100, 100))
    while pixels.base is not None:
        pixels = pixels.base
    assert pixels.nbytes == 3 * 32 * 32


def test_a_crop_takes_no_array_of_the_whole_image_on_the_way():
    image = Image.new("RGB", (3000, 3000))
    tracemalloc.start()
    parse("crop32")(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MIB


@KINDS
def test_a_value_counts_until_the_next_one_is_asked_for(kind, limit):
    values = read_by(kind, Decoder(0, 4 * MIB), 1, threads=1, ahead=1)
    before = BUDGET.used
    next(values)
    assert BUDGET.used == before + 4 * MIB
    assert next(values, None) is None
    assert BUDGET.used == before


def test_the_size_of_a_value_is_that_of_its_pixels():
    pixels = np.zeros((4, 5, 3), np.uint8)
    assert size_of((1, pixels, {"image": pixels, "label": 0}, [None])) == 2 * pixels.nbytes
    assert size_of(Image.new("RGB", (4, 5))) == 80


IN_MANY_THREADS = """
import io, threading
from PIL import Image
from lfm_jax.data.images import decode_bytes

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) >> 10

def decode_and_stay():
    decode_bytes(file.getvalue())
    decoded.release()
    at_end.wait()

file, decoded, at_end = io.BytesIO(), threading.Semaphore(0), threading.Event()
Image.new("RGB", (5000, 5000)).save(file, "BMP")
for _ in range(10):
    threading.Thread(target=decode_and_stay).start()
    decoded.acquire()
print(peak())
at_end.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_threads_do_not_keep_the_memory_of_large_images():
    """100 MB each, one after the other; kept by ten threads, they would come to a gigabyte."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", IN_MANY_THREADS], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 700
