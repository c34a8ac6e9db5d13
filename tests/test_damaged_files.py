"""Everything that is read from a disk, damaged at random: an error for the user or what was written, and nothing else.

Not a traceback, not a hang, and not another result. A file in which someone changed a value by hand may give another
result, but no traceback. LFM_FUZZ_SEED starts at other numbers.
"""

import dataclasses
import itertools
import os
import signal
import traceback
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lfm_jax import models
from lfm_jax.config import base, flatten
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources import records
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.errors import UserError
from lfm_jax.evaluation.cells import CellStore
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.evaluation.saved import read_evaluation
from lfm_jax.inference.scoring import Scored
from lfm_jax.models import random_variables
from lfm_jax.report.files import write_files
from lfm_jax.training import sweep_results, writers
from lfm_jax.training.sweep import FINISHED, SweepRun
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.card import Card
from lfm_jax.weights.io import Weights
from tests.helpers import damage

SEED = int(os.environ.get("LFM_FUZZ_SEED", "0"))
SECONDS = 20  # for one case
CELL = {"weights": "w", "protocol": "native", "view": "as_is"}


def try_all(folder, files, read, count, *, expected, acceptable=lambda result: False, damages=damage.ANYTHING, only="*"):
    """Damage `files` in `count` ways and read each, with what follows from it. Returns how many were refused."""
    wrong, refused = [], 0
    for number in range(SEED + 1, SEED + 1 + count):
        content, words = damage.damaged(files, number, damages=damages, only=only)
        damage.write(folder, content)
        signal.alarm(SECONDS)
        try:
            result = read(folder)
        except UserError as error:
            refused += 1
            if not str(error).strip():
                wrong.append(f"{words}: refused without a word")
        except BaseException:
            wrong.append(f"{words}: {traceback.format_exc(limit=-3)}")
        else:
            by_hand = words.partition(": ")[2].startswith("other_value")
            if not (by_hand or damage.is_same_json(result, expected) or acceptable(result)):
                wrong.append(f"{words}: another result: {str(result)[:300]}")
        finally:
            signal.alarm(0)
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:8])
    return refused


@pytest.fixture(autouse=True)
def in_time():
    def hang(*_):
        raise TimeoutError(f"not done within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    yield
    signal.signal(signal.SIGALRM, before)


class Evaluated(NamedTuple):
    evaluation: Any
    source: Any
    folder: Any


@pytest.fixture(scope="module")
def evaluated(tiny_detector, labelled_folder, tmp_path_factory):
    source = open_folder(labelled_folder)
    folder = tmp_path_factory.mktemp("evaluated")
    detector = type(tiny_detector)(
        tiny_detector.model, tiny_detector.variables, dataclasses.replace(tiny_detector.card, training={"steps": 3})
    )
    evaluation = evaluate_network(detector, source, ["native"])
    write_files(evaluation, [detector], source, folder, data_sha256="d")
    return Evaluated(evaluation, source, folder)


def of_weights(path):
    weights = weights_io.load(path)
    return [weights.card.weights_sha256, dataclasses.asdict(weights.card)]


def test_safetensors(weights_file, tmp_path):
    """Most of the cases fall upon the header, which is a quarter of the file."""
    files = {weights_file.relative_to(weights_file.parent): weights_file.read_bytes()}
    run = tmp_path / "weights"
    refused = try_all(run, files, lambda folder: of_weights(folder / weights_file.name), 400, expected=of_weights(weights_file))
    assert refused > 200


def test_a_card_beside_its_file(weights_file, tmp_path):
    """It is meant to be edited by hand, so a threshold may change; another network or other weights may not pass."""
    weights = weights_io.load(weights_file)
    save_file(load_file(weights_file), tmp_path / "w.safetensors")
    files = damage.snapshot(tmp_path) | {damage.Path("w.safetensors.card.json"): weights.card.to_json().encode()}

    def read(folder):
        loaded = weights_io.load(folder / "w.safetensors")
        return [loaded.card.weights_sha256, loaded.card.model_config().to_dict()]

    expected = [weights.card.weights_sha256, weights.card.model_config().to_dict()]
    run = tmp_path / "run"
    assert try_all(run, files, read, 300, expected=expected, acceptable=lambda got: got[0] == expected[0], only="*.json") > 150


def test_pth(tmp_path):
    pytest.importorskip("torch")
    config = base().model
    variables = jax.tree.map(np.asarray, random_variables(models.build(config)))
    weights_io.save(tmp_path / "whole" / "w.pth", Weights(variables, Card(model=config.to_dict())))
    expected = of_weights(tmp_path / "whole" / "w.pth")[0]

    def read(folder):
        return of_weights(folder / "w.pth")[0]

    files = damage.snapshot(tmp_path / "whole")
    assert try_all(tmp_path / "run", files, read, 100, expected=expected, only="*.pth") > 40
    assert try_all(tmp_path / "run", files, read, 60, expected=expected, only="*.json") > 20


def test_checkpoint(weights_file, tmp_path):
    weights = weights_io.load(weights_file)
    weights_io.save(tmp_path / "whole", weights)
    refused = try_all(
        tmp_path / "run",
        damage.snapshot(tmp_path / "whole"),
        of_weights,
        150,
        expected=of_weights(tmp_path / "whole"),
    )
    assert refused > 20  # what a file holds besides the arrays is not needed to read them


def test_evaluation(evaluated, tmp_path):
    def read(folder):
        saved = read_evaluation(folder)
        return [saved.weights, saved.data_sha256, saved.options, list(saved.predictions.items()), str(saved.unscored)]

    files = damage.snapshot(evaluated.folder)
    files = {path: files[path] for path in files if path.name in ("results.json", "predictions.tsv")}
    assert try_all(tmp_path / "run", files, read, 400, expected=read(evaluated.folder)) > 350


def test_cells(tmp_path):
    scored = [Scored(0, 32, 32, -7.0), Scored(1, 32, 32, 9.0), Scored(2, error="gone")]
    CellStore(tmp_path / "whole", "d").save(CELL, scored)

    def read(folder):
        loaded = CellStore(folder, "d").load(CELL, images=3)
        return loaded and [dataclasses.asdict(item) for item in loaded]

    files = damage.snapshot(tmp_path / "whole")
    expected = [dataclasses.asdict(item) for item in scored]
    try_all(tmp_path / "run", files, read, 400, expected=expected, acceptable=lambda result: result is None)


def test_metrics(tmp_path):
    """A log of text without hashes: the lines that were not hit are kept, and it can be gone on with."""
    whole = [{"step": step, "split": "train", "loss": 1.0 / step} for step in range(1, 21)]
    text = "".join(f"{line}\n".replace("'", '"') for line in whole)

    def read(folder):
        with writers.MetricWriter(folder, step=20):
            pass
        return writers.read(folder)

    def acceptable(lines):
        return sum(line not in whole for line in lines) <= 3  # bits that were flipped within numbers

    files = {damage.Path("metrics.jsonl"): text.encode()}
    try_all(tmp_path / "run", files, read, 150, expected=whole, acceptable=acceptable)


def sweep_run(workdir):
    return SweepRun("base", 0, base(), workdir)


def test_sweep(evaluated, tmp_path):
    files = {damage.Path("test/best") / path: content for path, content in damage.snapshot(evaluated.folder).items()}
    files = {path: content for path, content in files.items() if path.name in ("results.json", "predictions.tsv")}
    finished = {"config": flatten(base().to_dict()), "seconds": 1.5}
    files[damage.Path(FINISHED)] = damage.json.dumps(finished, indent=1).encode()

    def read(folder):
        results = sweep_results.collect([sweep_run(folder)], "base")
        return [dataclasses.asdict(results), sweep_results.markdown(results)]

    damage.write(tmp_path / "whole", files)
    expected = read(tmp_path / "whole")

    def acceptable(result):  # of a run whose own marker was damaged, how long it took is all that may change
        return {**result[0]["runs"][0], "seconds": 0} == {**expected[0]["runs"][0], "seconds": 0}

    try_all(tmp_path / "run", files, read, 200, expected=expected, acceptable=acceptable)


@pytest.fixture(scope="module")
def prepared(noise, tmp_path_factory):
    """A folder of images, and in `out` what was prepared from it."""
    root = tmp_path_factory.mktemp("prepared")
    for label, count in itertools.product(("0_real", "1_fake"), range(3)):
        path = root / "images/train/car" / label / f"{count}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(24, 24, seed=count + 10 * (label == "1_fake")).save(path)
    prepare_folder(root / "images", root / "out")
    return root


def contents(out):
    """Path, label and content of every example; a broken image is None."""
    source = records.open_prepared_split(out, "", "train")
    found = []
    for index, example in enumerate(source.examples):
        try:
            content = source.encoded(index).hex()
        except records.ImageError:
            content = None
        found.append([example.path, example.label, content])
    return found


def test_prepared_data(prepared, tmp_path):
    expected = contents(prepared / "out")

    def acceptable(result):
        """Some images are broken, and none is another one."""
        return all(ours[:2] == theirs[:2] and ours[2] in (theirs[2], None) for ours, theirs in zip(result, expected, strict=True))

    files = {path: content for path, content in damage.snapshot(prepared / "out").items() if ".prepare" not in path.parts}
    try_all(tmp_path / "run", files, contents, 150, expected=expected, acceptable=acceptable)


def test_prepared_data_is_prepared_again(prepared, tmp_path):
    """Whatever is damaged of the data or of the journal, the same command mends it, or says what is to be done."""
    expected = contents(prepared / "out")

    def again(folder):
        prepare_folder(prepared / "images", folder, whole=True)
        return contents(folder)

    files = damage.snapshot(prepared / "out")
    for only in ("journal.jsonl", "*"):
        try_all(tmp_path / "run", files, again, 60, expected=expected, only=only)
    journal_alone = {path: content for path, content in files.items() if path.name == "journal.jsonl"}
    try_all(tmp_path / "run", journal_alone, again, 60, expected=expected)
