"""The notebook runs as it is published, in an empty folder without a network, and its outputs show what its text says."""

import json
import os
import re

import nbformat
import pytest

from tests.helpers.paths import REPOSITORY

NOTEBOOK = REPOSITORY / "notebooks" / "lfm_colab.ipynb"


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def run(folder, *, only=(), **environment):
    """Run code cells in `folder`, those with the ids in `only` or all of them -> the cells with their outputs, by id."""
    from nbclient import NotebookClient

    book = read()
    book.cells = [cell for cell in book.cells if cell.cell_type == "code" and (not only or cell["id"] in only)]
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu", **environment}
    NotebookClient(book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute(env=variables)
    return {cell["id"]: cell for cell in book.cells}


def printed(cell):
    """What the cell wrote to stdout."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def displayed(cell, kind):
    """The first output of a cell that has data of this MIME type."""
    return next(output.data[kind] for output in cell.outputs if kind in output.get("data", {}))


def losses(cell):
    """The losses that the cell printed, in their order."""
    return [float(loss) for loss in re.findall(r"loss (\d\.\d+)", printed(cell))]


def test_it_is_stored_with_small_outputs_or_none_and_names_no_path_of_one_machine():
    book = read()
    nbformat.validate(book)
    assert NOTEBOOK.stat().st_size < 700_000
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    if any(cell.outputs for cell in cells):  # run from top to bottom, by tools/run_notebook.py
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in book.cells:
        assert not re.search(r"""["'](/|~|[A-Z]:)""", cell.source), f"a path of one machine in:\n{cell.source}"
        assert not re.search(r"/(root|home|tmp|work)/", json.dumps(cell.get("outputs", []))), f"such a path below:\n{cell.source}"
        assert not any(output.output_type == "error" for output in cell.get("outputs", []))


def test_it_installs_from_a_git_address_or_a_wheel_and_its_badge_opens_the_same_repository():
    cells = {cell["id"]: cell.source for cell in read().cells}
    (repository,) = re.findall(r"git\+https://github\.com/([\w-]+/[\w-]+)\"", cells["install"])
    assert "%pip install" in cells["install"] and ".whl" in cells["install"]
    assert f"colab.research.google.com/github/{repository}/blob/main/notebooks/{NOTEBOOK.name}" in cells["text-0"]
    addresses = {cell: source.count("://") for cell, source in cells.items() if "://" in source}
    assert addresses == {"text-0": 2, "install": 1}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The whole notebook on one device, in an empty folder, where every connection to another machine fails."""
    pytest.importorskip("torch", reason="its last section exports to PyTorch")
    folder = tmp_path_factory.mktemp("notebook")
    no_network = {f"{name}_PROXY": "http://127.0.0.1:9" for name in ("HTTP", "HTTPS", "ALL")}
    return run(folder, XLA_FLAGS="", PIP_NO_INDEX="1", **no_network), folder


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_and_every_cell_shows_what_it_promises(ran):
    cells, folder = ran
    assert cells["install"].outputs == [] and "on [CpuDevice(id=0)]" in printed(cells["start"])
    assert displayed(cells["data"], "image/png")
    assert re.search(r"step 500 +train .*loss", printed(cells["train"]))
    assert "| mean" in displayed(cells["evaluate"], "text/markdown")
    assert "never a proof" in displayed(cells["score"], "text/html")
    assert displayed(cells["explain"], "image/png")
    assert "16_cut_off.jpg" in displayed(cells["folder"], "text/html")
    assert all(name in displayed(cells["pandas"], "text/html") for name in ("truth", "count", "mean"))
    assert re.match(r"200 frames: \d+ (no )?trace found", printed(cells["stream"]))
    assert displayed(cells["residual"], "image/png")
    assert "never measured" in printed(cells["photo"]) and "trace" in printed(cells["photo"])
    assert displayed(cells["own"], "image/png")
    assert "McNemar" in displayed(cells["compare"], "text/markdown")
    assert "lfm_torch.py" in printed(cells["export"])
    assert sorted(path.name for path in folder.iterdir()) == ["runs"]


@pytest.mark.slow
def test_both_detectors_learn_and_pytorch_gives_the_logit_of_jax(ran):
    cells, folder = ran
    for name in ("topk", "extremes"):
        rows = json.loads((folder / "runs" / name / "test" / "results.json").read_text())["rows"]
        assert next(row["ap"] for row in rows if row["level"] == "suite") > 0.85
    in_torch, in_jax = (float(logit) for logit in re.findall(r"'logit': (-?[\d.]+)", printed(cells["torch"])))
    assert in_torch == pytest.approx(in_jax, abs=1e-3)  # float32 sums in another order


@pytest.mark.slow
def test_on_eight_devices_the_batch_is_split_and_the_losses_are_the_same(ran, tmp_path):
    eight = run(tmp_path, only=("start", "data", "devices"), XLA_FLAGS="--xla_force_host_platform_device_count=8")["devices"]
    alone = ran[0]["devices"]
    assert printed(alone).count("has 16 of the 16 images") == 1
    assert [f"cpu:{device} has 2 of the 16 images" in printed(eight) for device in range(8)] == [True] * 8
    assert len(losses(alone)) == 5
    assert losses(eight) == pytest.approx(losses(alone), abs=2e-5)
