"""Fixtures that several test files use: a tiny detector, its weights on disk, noise images, labelled folders, the command."""

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from lfm_jax import config, models
from lfm_jax.cli import main
from lfm_jax.inference.detector import Detector
from lfm_jax.models import random_variables
from lfm_jax.runtime.program_cache import WITHOUT_ADDRESSES
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.io import Weights
from tests.helpers.optimised import OPTIMISED, QUICK_COMPILING, in_own_process
from tests.helpers.paths import REPOSITORY

CACHE = "JAX_COMPILATION_CACHE_DIR"
Noise = Callable[..., Image.Image]

# Half of the tests' time went into making programs fast that run once. XLA reads its flags when a device is first asked for.
if not os.environ.get(OPTIMISED) and QUICK_COMPILING not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILING}".strip()


# Tracing makes many objects that stay. Python looks through all of them for garbage every few hundred new ones, an eighth of
# the time of a test that trains; with these thresholds it looks seldom.
gc.set_threshold(100_000, 20, 20)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests marked `optimised` a process of their own, and run the tests of training first.

    The files of training take minutes each: one left for the end would keep all workers but one idle.
    """
    in_own_process(items)
    items.sort(key=lambda item: "training" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Share compiled programs between all tests, workers and child processes, as most of the tests' time is compiling.

    They lie in JAX_COMPILATION_CACHE_DIR where that is set, so that several runs can share them too, else in a temporary folder.
    """
    folder = tmp_path_factory.getbasetemp()
    of_all_workers = folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder
    settings = {
        CACHE.lower(): os.environ.get(CACHE) or str(of_all_workers / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        WITHOUT_ADDRESSES.lower(): True,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the released weights, golden values and images: LFM_SHARED, or ../shared beside the repository.

    Where it is missing, tests that need it are skipped, but fail in CI.
    """
    folder = Path(os.environ.get("LFM_SHARED") or REPOSITORY.parent / "shared").resolve()
    if not folder.is_dir():
        reason = f"no shared test data at {folder}: set LFM_SHARED to the folder that holds weights/, golden/ and data/"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def noise() -> Noise:
    """noise(height, width, seed=0, strength=255) -> RGB image of independent, uniform pixels in 0..strength."""

    def draw(height: int, width: int, seed: int = 0, strength: int = 255) -> Image.Image:
        rng = np.random.default_rng((seed, height, width))
        return Image.fromarray(rng.integers(0, strength + 1, (height, width, 3), dtype=np.uint8))

    return draw


@pytest.fixture(scope="session")
def tiny_detector(noise: Noise) -> Detector:
    """A network small enough to compile in a second, for images of 32 px or more.

    It calls strong noise (`strength` 255) fake with a logit of +5 and faint noise (20) real with -5.
    """
    model_config = config.model()
    model_config.widths, model_config.maps, model_config.pooling.k = (4, 8, 8, 8), 4, 4
    model = models.build(model_config)
    variables = random_variables(model)
    head = variables["params"]["head"]
    variables["params"]["project"], head["kernel"] = np.abs(variables["params"]["project"]), np.abs(head["kernel"])
    card = Card(model=model_config.to_dict())
    faint, strong = Detector(model, variables, card).logits(np.stack([noise(64, 64, strength=s) for s in (20, 255)]))
    head["kernel"] *= 10 / (strong - faint)
    head["bias"] -= 5 * (faint + strong) / (strong - faint)
    return Detector(model, variables, card)


@pytest.fixture(scope="session")
def weights_file(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny detector saved as .safetensors."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights_io.save(path, Weights(jax.tree.map(np.asarray, tiny_detector.variables), tiny_detector.card))
    return path


class RedPixelDetector(Detector):
    """A detector whose logit is the red value of the first pixel minus 100. `seen` lists the shapes of its batches.

    Tests choose the logit of an image by painting it, and need not compile a network.
    """

    def __init__(self, like: Detector):
        super().__init__(like.model, like.variables, like.card)
        self.seen: list[tuple[int, int, int]] = []  # images, height, width

    def logits_async(self, images, *, sizes=None):
        self.seen.append(images.shape[:3])
        return images[:, 0, 0, 0].astype(np.float32) - 100


@pytest.fixture(scope="session")
def new_given_logits(tiny_detector: Detector) -> Callable[[], RedPixelDetector]:
    """new_given_logits() -> a RedPixelDetector that has seen nothing yet."""
    return lambda: RedPixelDetector(tiny_detector)


@pytest.fixture
def given_logits(new_given_logits: Callable[[], RedPixelDetector]) -> RedPixelDetector:
    """A RedPixelDetector: it gives each image the logit that the image was saved with by `save_with_logit`."""
    return new_given_logits()


@pytest.fixture(scope="session")
def save_with_logit() -> Callable[[Path, int], Path]:
    """save_with_logit(path, logit) saves a PNG that `given_logits` scores with that whole number, and returns its path."""

    def save(path: Path, logit: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (100 + logit, 0, 0)).save(path)
        return path

    return save


@pytest.fixture(scope="session")
def labelled_folder(noise: Noise, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generators, of which the second has two classes. The tiny detector misses one of gan_a's fakes and errs nowhere else."""
    root = tmp_path_factory.mktemp("data") / "suite"
    for group, fakes in {"gan_a": (255, 20), "gan_b/car": (255, 255), "gan_b/cat": (255,)}.items():
        for label, strengths in {"0_real": (20, 20), "1_fake": fakes}.items():
            folder = root / group / label
            folder.mkdir(parents=True)
            for index, strength in enumerate(strengths):
                noise(64, 64, seed=index, strength=strength).save(folder / f"{index}.png")
    return root


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """unreadable(folder) makes listing that folder fail from now on, also for root, whom permissions do not stop."""
    refused, scandir = set(), os.scandir

    def refuse(path="."):
        if Path(path) in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return refused.add


class Ran(NamedTuple):
    """The exit status of a command and what it printed. `devices` is the line that names them, which is not in `err`."""

    status: int
    out: str
    err: str
    devices: str


@pytest.fixture
def lfm(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """lfm("predict", path, ...) runs the command in this process -> exit status, stdout, stderr. No traceback may show."""

    def run(*argv: Any) -> Ran:
        try:
            status = main([str(arg) for arg in argv])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        devices = re.match(r"lfm \w+: computing on .*\n", err)
        first = devices[0] if devices else ""
        ran = Ran(status, out, err.removeprefix(first), first)
        assert "Traceback" not in ran.out + ran.err
        return ran

    return run
