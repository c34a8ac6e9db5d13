"""Run the notebook and save it with its outputs; pictures are made small.

python tools/run_notebook.py              # in a folder of its own, about 3 minutes on two CPU cores
"""

import base64
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "lfm_colab.ipynb"
WIDTH, COLOURS = 720, 64  # of a saved picture


def main() -> None:
    from nbclient import NotebookClient

    book = nbformat.read(NOTEBOOK, as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.execute(env=environment)
    for number, cell in enumerate((cell for cell in book.cells if cell.cell_type == "code"), start=1):
        cell.execution_count, cell.metadata = number, {}
        cell.outputs = [small(output, number) for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(book, NOTEBOOK)


def small(output: Any, number: int) -> Any:
    """An output with its pictures scaled down; of several forms of a table or an answer those that viewers show."""
    if "execution_count" in output:
        output.execution_count = number
    data = output.get("data", {})
    if "image/png" in data:
        data["image/png"] = small_picture(data["image/png"])
    return output


def small_picture(text: str) -> str:
    """A PNG in base64 -> the same with at most WIDTH px and COLOURS colours."""
    image = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    image.thumbnail((WIDTH, 10 * WIDTH))
    file = io.BytesIO()
    image.quantize(COLOURS).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main()
