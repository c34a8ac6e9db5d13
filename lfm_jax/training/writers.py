"""Training metrics to metrics.jsonl, TensorBoard files and the console. One writer, on process 0, step by step."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from lfm_jax.runtime.progress import say

METRICS = "metrics.jsonl"


class MetricWriter:
    """Lines {"step", "split", name: value, ...} in WORKDIR/metrics.jsonl, the same to TensorBoard and stderr.

    Opened at the step that a run resumes from: what a killed run had written after it is cut off, as those
    steps are made again.
    """

    def __init__(self, workdir: Path, *, step: int):
        path = workdir / METRICS
        _cut_after(path, step)
        self._file = open(path, "a")  # noqa: SIM115  # closed in __exit__
        # On the side, as it loads PyTorch where that is installed: seconds, in which the first step is compiled.
        self._board = ThreadPoolExecutor(1).submit(_open_board, workdir / "tensorboard", step)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        # On a full disk closing fails too, and would hide the error that says so.
        with nullcontext() if kind is None else suppress(OSError):
            self._file.close()
            self._board.result().close()

    def write(self, step: int, split: str, metrics: dict[str, float | int | None]) -> None:
        """One line; a metric that is None stays out of TensorBoard."""
        print(json.dumps({"step": step, "split": split, **metrics}), file=self._file, flush=True)
        for name, value in metrics.items():
            if value is not None:
                self._board.result().add_scalar(f"{split}/{name}", value, step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)
        say(f"step {step}  {split}  {shown}")


class NoWriter:
    """What the other processes write with."""

    def __enter__(self) -> "NoWriter":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def write(self, step: int, split: str, metrics: dict[str, float | int | None]) -> None:
        pass


def read(workdir: Path) -> list[dict[str, Any]]:
    """The lines of WORKDIR/metrics.jsonl; a last line cut short by a kill is left out."""
    path = workdir / METRICS
    if not path.exists():
        return []
    whole = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in whole]


def _open_board(folder: Path, step: int) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


def _cut_after(path: Path, step: int) -> None:
    kept = [line for line in read(path.parent) if line["step"] <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
    partial.replace(path)
