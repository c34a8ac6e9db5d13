"""Training metrics, written step by step by process 0 to metrics.jsonl, TensorBoard files and the console."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lfm_jax.runtime.paths import write_whole
from lfm_jax.runtime.progress import say

METRICS = "metrics.jsonl"
NEEDLESS = ("torch", "boto3", "google.cloud.storage")  # tensorboardX loads them if it can: 2 s, for nothing that is used here
ON_SCREEN = {"train": ("loss", "acc", "lr", "images_per_s"), "val": ("ap", "auc", "acc", "loss")}


class MetricWriter:
    """Writes lines {"step", "split", name: value, ...} to WORKDIR/metrics.jsonl, and the same to TensorBoard.

    stderr gets one row of at most 80 columns: ON_SCREEN, which tells whether training gets anywhere.

    It opens at the step from which a run resumes, and removes the lines that a killed run wrote after it: those steps are
    made again.
    """

    def __init__(self, workdir: Path, *, step: int):
        path = workdir / METRICS
        _cut_after(path, step)
        self._file = open(path, "a")  # noqa: SIM115  # closed in __exit__
        self._board = _open_board(workdir / "tensorboard", step)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        # On a full disk closing fails too, and would hide the error that says so.
        with nullcontext() if kind is None else suppress(OSError):
            self._file.close()
            self._board.close()

    def write(self, step: int, split: str, metrics: dict[str, float | int | None]) -> None:
        """Write one line; TensorBoard gets no metric that is None."""
        print(json.dumps({"step": step, "split": split, **metrics}), file=self._file, flush=True)
        for name, value in metrics.items():
            if value is not None:
                self._board.add_scalar(f"{split}/{name}", value, step)
        shown = {name: metrics.get(name) for name in ON_SCREEN.get(split, tuple(metrics))}
        rounded = "  ".join(f"{name} {value:.4g}" for name, value in shown.items() if value is not None)
        say(f"step {step}  {split}  {rounded}")


class NoWriter:
    """The writer of every process but process 0: it writes nothing."""

    def __enter__(self) -> "NoWriter":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def write(self, step: int, split: str, metrics: dict[str, float | int | None]) -> None:
        pass


def read(workdir: Path) -> list[dict[str, Any]]:
    """The lines of WORKDIR/metrics.jsonl, [] where there is no such file.

    A last line that a kill cut short is left out, and so are lines that are damaged, which are counted in a warning.
    """
    path = workdir / METRICS
    if not path.exists():
        return []
    whole_lines = path.read_text(errors="replace").split("\n")[:-1]
    lines = list(map(_parse, whole_lines))
    if damaged := [number for number, line in enumerate(lines, start=1) if line is None]:
        say(f"warning: {path}: {len(damaged)} damaged line(s) left out, the first is line {damaged[0]}")
    return [line for line in lines if line is not None]


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and type(line.get("step")) is int and isinstance(line.get("split"), str) else None


def _open_board(folder: Path, step: int) -> Any:
    with _hidden(NEEDLESS):
        from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Lets modules seem not to be installed, except those that are loaded already. No other thread may import them meanwhile."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _cut_after(path: Path, step: int) -> None:
    lines = [json.dumps(line) + "\n" for line in read(path.parent) if line["step"] <= step]
    write_whole(path, "".join(lines).encode())
