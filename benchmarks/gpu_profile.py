"""What a device did in a few steps of a compiled program: kernels by time, idle share and clocks; and the program's text."""

import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

STEPS, KERNELS = 5, 30
CLOCKS = "clocks.sm,clocks.mem,clocks_event_reasons.active,power.draw,temperature.gpu"
NS = 1e-6  # milliseconds


def profiled(run: Callable[[int], object], program: Any, text: Path | None) -> dict[str, Any]:
    """Traces STEPS steps.

    Args:
      run: run(count) makes steps and waits for them; it has been called before.
      program: a `jax.stages.Compiled`, whose optimized HLO is written to `text`.

    Returns:
      "kernels": [name, calls, ms per step] of those that took longest, "busy_ms" and "span_ms" per step, "idle" as a share of the
      span, "clocks" of nvidia-smi while it ran on, where there is one.
    """
    if text:
        text.write_text(program.as_text())
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder, profiler_options=options)
        run(STEPS)
        jax.profiler.stop_trace()
        (file,) = Path(folder).rglob("*.xplane.pb")
        found = by_kernel(file)
    return {"steps": STEPS, **found, "clocks": clocks(run)}


def by_kernel(trace: Path) -> dict[str, Any]:
    """The kernels in a trace; on a machine without an accelerator, whatever XLA's threads ran."""
    planes = list(jax.profiler.ProfileData.from_file(str(trace)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    lines = [
        line
        for plane in devices or planes
        for line in plane.lines
        if (line.name.startswith("Stream") if devices else line.name.startswith("tf_"))
    ]
    spans: list[tuple[float, float]] = []
    kernels: dict[str, list[float]] = defaultdict(list)
    for event in (event for line in lines for event in line.events):
        kernels[event.name].append(event.duration_ns)
        spans.append((event.start_ns, event.start_ns + event.duration_ns))
    if not spans:
        return {"kernels": [], "busy_ms": 0.0, "span_ms": 0.0, "idle": None}
    busy, span = union(spans), max(end for _, end in spans) - min(start for start, _ in spans)
    longest = sorted(kernels.items(), key=lambda item: -sum(item[1]))[:KERNELS]
    return {
        "kernels": [[name, len(times), round(sum(times) * NS / STEPS, 4)] for name, times in longest],
        "busy_ms": busy * NS / STEPS,
        "span_ms": span * NS / STEPS,
        "idle": 1 - busy / span,
    }


def union(spans: list[tuple[float, float]]) -> float:
    """The length of what is covered by at least one of them."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return covered


def clocks(run: Callable[[int], object]) -> str:
    """What nvidia-smi says of the clocks while steps run; "" without it."""
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", f"--query-gpu={CLOCKS}", "--format=csv,noheader"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            run(STEPS)
        assert process.stdout
        return process.stdout.read().strip()
