"""What several test files need: a tiny detector, its weights on disk, drawn images, labelled folders."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from lfm_jax import config, models
from lfm_jax.bench.common import random_variables
from lfm_jax.cli import main
from lfm_jax.inference.detector import Detector
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.io import Weights

REPOSITORY = Path(__file__).resolve().parent.parent
Draw = Callable[..., Image.Image]


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled programs are shared by all tests of a session and by the processes they start: most of the time goes there."""
    folder = tmp_path_factory.getbasetemp()
    workers_share = folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder
    settings = {
        "jax_compilation_cache_dir": str(workers_share / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the released weights, golden values and images: LFM_SHARED, or ../shared beside the repository."""
    folder = Path(os.environ.get("LFM_SHARED") or REPOSITORY.parent / "shared").resolve()
    if not folder.is_dir():
        reason = f"no shared test data at {folder}: set LFM_SHARED to the folder that holds weights/, golden/ and data/"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def noise() -> Draw:
    """noise(height, width, seed=0, strength=255) -> RGB image of independent pixels in 0..strength."""

    def draw(height: int, width: int, seed: int = 0, strength: int = 255) -> Image.Image:
        rng = np.random.default_rng((seed, height, width))
        return Image.fromarray(rng.integers(0, strength + 1, (height, width, 3), dtype=np.uint8))

    return draw


@pytest.fixture(scope="session")
def tiny_detector(noise: Draw) -> Detector:
    """A network small enough to compile in a second (32 px or more). It calls strong noise fake and faint noise real."""
    model_config = config.model()
    model_config.widths, model_config.maps, model_config.pooling.k = (4, 8, 8, 8), 4, 4
    model = models.build(model_config)
    variables = random_variables(model)
    head = variables["params"]["head"]
    variables["params"]["project"], head["kernel"] = np.abs(variables["params"]["project"]), np.abs(head["kernel"])
    card = Card(model=model_config.to_dict())
    faint, strong = Detector(model, variables, card).logits(np.stack([noise(64, 64, strength=s) for s in (20, 255)]))
    head["kernel"] *= 10 / (strong - faint)  # their logits become +-5
    head["bias"] -= 5 * (faint + strong) / (strong - faint)
    return Detector(model, variables, card)


@pytest.fixture(scope="session")
def weights_file(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny detector as .safetensors."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights_io.save(path, Weights(jax.tree.map(np.asarray, tiny_detector.variables), tiny_detector.card))
    return path


class GivenLogits(Detector):
    """A detector whose logit is the red value of the first pixel less 100, and which remembers the batches it was given."""

    def __init__(self, like: Detector):
        super().__init__(like.model, like.variables, like.card)
        self.seen: list[tuple[int, int, int]] = []  # rows, height, width

    def logits_async(self, images, *, sizes=None):
        self.seen.append(images.shape[:3])
        return images[:, 0, 0, 0].astype(np.float32) - 100


@pytest.fixture(scope="session")
def new_given_logits(tiny_detector: Detector) -> Callable[[], GivenLogits]:
    return lambda: GivenLogits(tiny_detector)


@pytest.fixture
def given_logits(new_given_logits: Callable[[], GivenLogits]) -> GivenLogits:
    return new_given_logits()


@pytest.fixture(scope="session")
def save_with_logit() -> Callable[[Path, float], Path]:
    """save_with_logit(path, logit): a PNG to which `given_logits` gives that (whole) logit; folders are made."""

    def save(path: Path, logit: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (100 + logit, 0, 0)).save(path)
        return path

    return save


@pytest.fixture(scope="session")
def labelled_folder(noise: Draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generators, the second in two classes, as the tiny detector sees them: gan_a one fake in two missed, gan_b all right."""
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
    """unreadable(folder): listing it is refused from now on. (For root, no permission stands in the way.)"""
    refused, scandir = set(), os.scandir

    def refuse(path="."):
        if Path(path) in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return refused.add


class Ran(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def lfm(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """lfm("predict", path, ...): the command in this process -> exit status, stdout, stderr."""

    def run(*argv: Any) -> Ran:
        try:
            status = main([str(arg) for arg in argv])
        except SystemExit as stop:
            status = stop.code
        ran = Ran(status, *capsys.readouterr())
        assert "Traceback" not in ran.out + ran.err
        return ran

    return run
