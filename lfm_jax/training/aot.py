"""`lfm compile`: does a config compile for, and fit on, devices that are not here?

A topology is `v5e:16x16` and its like (TPUs, which needs libtpu, `pip install 'lfm_jax[tpu]'`, but no TPU), `h100:8` (GPUs
of one host, which needs the compiler alone, `pip install 'lfm_jax[gpu-compile]'`) or `cpu:8`. For the training step and the
evaluation step the answer has memory per device, FLOPs, bytes moved, and the collectives with their bytes.
"""

import importlib.resources
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tabulate import tabulate

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.data.batch import batch_shapes
from lfm_jax.errors import ConfigError, UserError, first_line
from lfm_jax.inference.batching import BATCH_SIDE
from lfm_jax.inference.network import forward
from lfm_jax.models import folding
from lfm_jax.ops.stem_kernels import can_be_lowered
from lfm_jax.runtime import sharding
from lfm_jax.runtime.program_memory import program_memory
from lfm_jax.runtime.progress import say
from lfm_jax.training import optim
from lfm_jax.training.run import abstract_state
from lfm_jax.training.step import compiled_step
from lfm_jax.training.traffic import Instruction, estimated_cycles, instructions

GIB, MIB = 1 << 30, 1 << 20
DEVICE_MEMORY = {  # bytes, by the kind of device that jax names
    "TPU v4": 32 * GIB,
    "TPU v5 lite": 16 * GIB,
    "TPU v5": 95 * GIB,
    "TPU v5p": 95 * GIB,
    "TPU v6 lite": 32 * GIB,
}
BANDWIDTH = {"TPU v4": 1.2e12, "TPU v5 lite": 8.19e11, "TPU v5": 2.77e12, "TPU v5p": 2.77e12, "TPU v6 lite": 1.64e12}  # bytes/s
CLOCK = {"TPU v5 lite": 1.5e9}  # Hz; of the kinds for which the compiler's estimates were looked at
GPUS = importlib.resources.files("lfm_jax.training") / "gpus"  # a description of each, as XLA takes it
WHAT = ("train", "score")
LARGEST = 5  # instructions that are named
COLLECTIVE = re.compile(r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
ARRAY = re.compile(r"\b([a-z]+)(\d+)\[([\d,]*)\]")


@dataclass
class Program:
    """A compiled program that takes `images` images at once.

    Attributes:
      arguments, temporaries, peak: bytes per device.
      flops: per device; 0 where the compiler does not count them.
      moved: bytes per device, an upper bound counted in the program's text; see `traffic`.
      largest: the instructions that move most.
      cycles: that the compiler expects; 0 where it says nothing, as for GPUs.
      collectives: by kind, how many and the bytes of their results.
      error: why the program does not fit on a device; "" where it does.
    """

    images: int = 0
    arguments: int = 0
    temporaries: int = 0
    peak: int = 0
    flops: float = 0.0
    moved: int = 0
    largest: list[Instruction] = field(default_factory=list)
    collectives: dict[str, tuple[int, int]] = field(default_factory=dict)
    cycles: int = 0
    error: str = ""


@dataclass
class Compilation:
    """The programs of a config for one topology; `device_memory` is in bytes, None for CPUs, `bandwidth` in bytes per second."""

    topology: str
    devices: int
    hosts: int
    kind: str
    device_memory: int | None
    bandwidth: float | None
    programs: dict[str, Program]

    @property
    def fits(self) -> bool:
        """Whether every program fits into the memory of a device."""
        return not any(
            program.error or (self.device_memory and program.peak > self.device_memory) for program in self.programs.values()
        )

    def table(self) -> str:
        """Markdown, a column per program."""
        columns = [_column(program, self) for program in self.programs.values()]
        names = dict.fromkeys(name for column in columns for name in column)
        rows = [["devices", *[f"{self.devices} x {self.kind} on {self.hosts} host(s)"] * len(self.programs)]]
        rows += [[name, *(column.get(name, "-") for column in columns)] for name in names]
        return tabulate(rows, [self.topology, *self.programs], tablefmt="github")


def compile_for(config: ConfigDict, topology: str, *, slices: int = 1, what: Sequence[str] = WHAT) -> Compilation:
    """Compile the training step and the evaluation step of `config` ahead of time for all devices of `topology`.

    Args:
      slices: of a TPU, each with that topology, joined by the data centre's network.
      what: "train", "score" or both.

    Raises:
      UserError: there is no such topology, its compiler is missing, or the config cannot run there.
    """
    devices, memory, bandwidth = _devices(topology, slices)
    config_lib.validate(config, devices=len(devices))
    if config.model.compute_dtype == "bfloat16" and config.model.kernels and is_gpu(topology) and not can_be_lowered():
        say("compiled without our kernels, which this jax makes only where there is a GPU: its figures are those of kernels=False")
    mesh = sharding.data_mesh(devices)
    hosts = len({device.process_index for device in devices})
    programs = {}
    if "train" in what:
        programs["train step"] = _compile_train(config, mesh)
    if "score" in what:
        programs["evaluation step"] = _compile_evaluation(config, mesh, hosts)
    return Compilation(topology, len(devices), hosts, devices[0].device_kind, memory, bandwidth, programs)


def is_gpu(topology: str) -> bool:
    return (GPUS / f"{topology.partition(':')[0]}.txtpb").is_file()


def _devices(topology: str, slices: int) -> tuple[list[jax.Device], int | None, float | None]:
    """The devices, with the bytes of memory of each and how many it moves per second, where that is known."""
    platform, _, shape = topology.partition(":")
    jax.config.update("jax_platforms", "cpu")  # otherwise an installed libtpu would look for TPUs here
    if platform == "cpu":
        if not shape.isdecimal() or not int(shape):
            raise UserError(f"--topology={topology}: expected a number of devices, e.g. cpu:8")
        jax.config.update("jax_num_cpu_devices", int(shape))
        return jax.devices(), None, None
    if is_gpu(topology):
        return _gpus(topology, platform, shape)
    # Without these, libtpu asks the cloud which host this is, and refuses to load beside another process that uses it.
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    several = {"num_slices": slices} if slices > 1 else {}
    try:
        devices = list(topologies.get_topology_desc(topology, platform="tpu", **several).devices)
    except Exception as error:  # its type depends on what is wrong and on the version of libtpu
        raise UserError(
            f"--topology={topology}: {first_line(error)}. Expected cpu:8, GPUs such as h100:8, or TPUs such as v4:2x2x2, v5e:4x4, "
            "v5p:2x2x2 or v6e:4x4; TPU topologies need libtpu: pip install 'lfm_jax[tpu]'"
        ) from None
    kind: str = devices[0].device_kind  # type: ignore[attr-defined]
    return devices, DEVICE_MEMORY.get(kind), BANDWIDTH.get(kind)


def _gpus(topology: str, model: str, count: str) -> tuple[list[jax.Device], int, float]:
    if not count.isdecimal() or not 1 <= int(count) <= 8:
        raise UserError(f"--topology={topology}: expected 1 to 8 GPUs of one host, e.g. {model}:8")
    target = (GPUS / f"{model}.txtpb").read_text()
    try:
        described = topologies.get_topology_desc(platform="cuda", topology=f"1x1x{count}", target_config=target)
    except Exception as error:
        raise UserError(f"--topology={topology}: {first_line(error)}. It takes pip install 'lfm_jax[gpu-compile]'") from None
    facts = {name: int(value) for name, value in re.findall(r"(device_memory_size|memory_bandwidth): (\d+)", target)}
    return list(described.devices), facts["device_memory_size"], float(facts["memory_bandwidth"])


def _compile_train(config: ConfigDict, mesh: Mesh) -> Program:
    side = config.data.crop or config.data.resize
    if not side:
        raise ConfigError("config.data.crop and config.data.resize are both 0: the size of a training image is not known")
    model = models.build(config.model)
    tx, _ = optim.build(config.optim, steps=1 << 20, steps_per_epoch=1.0, batch_size=config.batch_size)
    split = sharding.split_batch(mesh, axis=int(config.accumulate > 1))
    arrays = batch_shapes(config, side).items()
    batch = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=split) for name, (shape, dtype) in arrays}
    state = abstract_state(config, model, tx, mesh)
    return _compile(config.batch_size, compiled_step(config, model, tx, state), state, batch)


def _compile_evaluation(config: ConfigDict, mesh: Mesh, hosts: int) -> Program:
    """One program for the batches of all hosts. In truth each host scores its own, which puts the same on every device."""
    model = models.build(config.model)
    everywhere, split = sharding.replicated(mesh), sharding.split_batch(mesh)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), models.abstract_variables(model))
    folded = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), folding.fold(model, zeros)
    )
    rows = -(-config.eval.batch_size * hosts // mesh.size) * mesh.size
    images = jax.ShapeDtypeStruct((rows, BATCH_SIDE, BATCH_SIDE, 3), jnp.uint8, sharding=split)
    sizes = jax.ShapeDtypeStruct((rows, 2), jnp.int32, sharding=split)
    return _compile(rows, forward, model, mesh, folded, images, sizes)


def _compile(images: int, function: Any, *args: Any) -> Program:
    try:
        compiled = function.lower(*args).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Program(images, error=first_line(error))
    flops = float((compiled.cost_analysis() or {}).get("flops", 0.0))
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:  # libtpu cannot print some programs for v6e
        say(f"the program cannot be printed, so its traffic and collectives are not known: {first_line(error)}")
        text = ""
    moving = instructions(text)
    moved = sum(instruction.bytes for instruction in moving)
    return Program(images, *program_memory(compiled), flops, moved, moving[:LARGEST], collectives(text), estimated_cycles(text))


def collectives(program_text: str) -> dict[str, tuple[int, int]]:
    """The collectives in a compiled program's text (HLO): {kind: (how many, bytes of their results)}."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for shapes, kind in COLLECTIVE.findall(program_text):
        counts[kind] += 1
        sizes[kind] += sum(
            int(bits) // 8 * int(np.prod([int(side) for side in sides.split(",") if side], dtype=np.int64))
            for _, bits, sides in ARRAY.findall(re.sub(r"\{[^}]*\}", "", shapes))
        )
    return {kind: (counts[kind], sizes[kind]) for kind in sorted(counts)}


def _column(program: Program, on: Compilation) -> dict[str, str]:
    device_memory, clock = on.device_memory, CLOCK.get(on.kind)
    if program.error:
        return {"images": str(program.images), "does not fit": program.error}
    cells = {
        "images": str(program.images),
        "arguments": f"{program.arguments / MIB:.1f} MiB",
        "temporaries": f"{program.temporaries / MIB:.1f} MiB",
        "peak": f"{program.peak / MIB:.1f} MiB" + (f" of {device_memory / GIB:.0f} GiB" if device_memory else ""),
    }
    if program.flops:
        cells["GFLOP"] = f"{program.flops / 1e9:.1f}"
    if program.moved:
        cells["moved, at most"] = f"{program.moved / 1e9:.2f} GB"
        if on.bandwidth:
            cells["moving that takes (estimate)"] = f"{1e3 * program.moved / on.bandwidth:.1f} ms"
    if program.cycles and clock:
        cells["all of it takes (compiler's estimate)"] = f"{1e3 * program.cycles / clock:.1f} ms"
    for place, instruction in enumerate(program.largest, start=1):
        cells[f"largest, {place}"] = f"{instruction.bytes / 1e6:.0f} MB {instruction.kind} {instruction.origin[-40:]}".strip()
    return cells | {kind: f"{count} ({size:,} bytes)" for kind, (count, size) in program.collectives.items()}
