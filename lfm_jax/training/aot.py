"""`lfm compile`: does a config compile for, and fit, devices that are not here?

In: a config and a topology, `v5e:16x16` (TPU, needs libtpu, `pip install 'lfm_jax[tpu]'`, but no TPU) or `cpu:8`. Out: for
the training step and the evaluation step memory a device, FLOPs, and the collectives with their bytes.
"""

import os
import re
from collections import Counter
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
from lfm_jax.errors import ConfigError, UserError, first_line
from lfm_jax.inference.batching import BATCH_SIDE
from lfm_jax.inference.network import forward
from lfm_jax.models import folding
from lfm_jax.runtime import sharding
from lfm_jax.training import optim
from lfm_jax.training.run import abstract_state
from lfm_jax.training.step import compiled_step

GIB, MIB = 1 << 30, 1 << 20
HBM = {"TPU v4": 32 * GIB, "TPU v5 lite": 16 * GIB, "TPU v5": 95 * GIB, "TPU v5p": 95 * GIB, "TPU v6 lite": 32 * GIB}
COLLECTIVE = re.compile(r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
ARRAY = re.compile(r"\b([a-z]+)(\d+)\[([\d,]*)\]")


@dataclass
class Program:
    """One program for `images` at once; per device: bytes, FLOPs, {collective: (count, bytes)}. `error`: why it does not fit."""

    images: int = 0
    arguments: int = 0
    temporaries: int = 0
    peak: int = 0
    flops: float = 0.0
    collectives: dict[str, tuple[int, int]] = field(default_factory=dict)
    error: str = ""


@dataclass
class Compilation:
    """`hbm` is what a device has, in bytes; None for a CPU."""

    topology: str
    devices: int
    hosts: int
    kind: str
    hbm: int | None
    programs: dict[str, Program]

    @property
    def fits(self) -> bool:
        return not any(program.error or (self.hbm and program.peak > self.hbm) for program in self.programs.values())

    def table(self) -> str:
        """Markdown."""
        rows = [["devices", *[f"{self.devices} x {self.kind} on {self.hosts} host(s)"] * len(self.programs)]]
        columns = [_column(program, self.hbm) for program in self.programs.values()]
        rows += [[name, *(column.get(name, "-") for column in columns)] for name in dict.fromkeys(n for c in columns for n in c)]
        return tabulate(rows, [self.topology, *self.programs], tablefmt="github")


def compile_for(config: ConfigDict, topology: str) -> Compilation:
    """Training step and evaluation step of `config`, compiled ahead of time for all devices of `topology`.

    Raises:
      UserError: no such topology, no libtpu, or a config that cannot run there.
    """
    devices = _devices(topology)
    on = sharding.data_mesh(devices)
    config_lib.validate(config, devices=on.size)
    hosts = len({device.process_index for device in devices})
    programs = {"train step": _compile_train(config, on), "evaluation step": _compile_evaluation(config, on, hosts)}
    kind = devices[0].device_kind
    return Compilation(topology, len(devices), hosts, kind, HBM.get(kind), programs)


def _devices(topology: str) -> list[jax.Device]:
    platform, _, shape = topology.partition(":")
    jax.config.update("jax_platforms", "cpu")  # or an installed libtpu would look for TPUs here
    if platform == "cpu":
        if not shape.isdecimal() or not int(shape):
            raise UserError(f"--topology={topology}: expected a number of devices, e.g. cpu:8")
        jax.config.update("jax_num_cpu_devices", int(shape))
        return jax.devices()
    # Without these libtpu asks a cloud's server who it is, and refuses to load beside another process that did.
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except Exception as error:  # what it raises depends on what is wrong, and on the version
        raise UserError(
            f"--topology={topology}: {first_line(error)}. Expected cpu:8 or a TPU topology as v4:2x2x2, v5e:4x4, v5p:2x2x2, "
            "v6e:4x4; TPU topologies need libtpu: pip install 'lfm_jax[tpu]'"
        ) from None


def _compile_train(config: ConfigDict, on: Mesh) -> Program:
    side = config.data.crop or config.data.resize
    if not side:
        raise ConfigError("config.data.crop and config.data.resize are both 0: the size of a training image is not known")
    model = models.build(config.model)
    tx, _ = optim.build(config.optim, steps=1 << 20, steps_per_epoch=1.0, batch_size=config.batch_size)
    parts = config.accumulate
    rows = (config.batch_size,) if parts == 1 else (parts, config.batch_size // parts)
    views = (2,) if config.consistency else ()
    split = sharding.split_batch(on, axis=len(rows) - 1)
    batch = {
        "image": jax.ShapeDtypeStruct((*rows, *views, side, side, 3), jnp.uint8, sharding=split),
        "label": jax.ShapeDtypeStruct(rows, jnp.float32, sharding=split),
        "index": jax.ShapeDtypeStruct(rows, jnp.int32, sharding=split),
    }
    state = abstract_state(config, model, tx, on)
    return _compile(config.batch_size, compiled_step(config, model, tx, state), state, batch)


def _compile_evaluation(config: ConfigDict, on: Mesh, hosts: int) -> Program:
    """Each host scores batches of its own; here all hosts' at once, which puts the same on every device."""
    model = models.build(config.model)
    everywhere, split = sharding.replicated(on), sharding.split_batch(on)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), models.abstract_variables(model))
    folded = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), folding.fold(model, zeros)
    )
    rows = -(-config.eval.batch_size * hosts // on.size) * on.size
    images = jax.ShapeDtypeStruct((rows, BATCH_SIDE, BATCH_SIDE, 3), jnp.uint8, sharding=split)
    sizes = jax.ShapeDtypeStruct((rows, 2), jnp.int32, sharding=split)
    return _compile(rows, forward, model, on, folded, images, sizes)


def _compile(count: int, function: Any, *args: Any) -> Program:
    try:
        compiled = function.lower(*args).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Program(count, error=first_line(error))
    memory = compiled.memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Program(
        images=count,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        peak=max(getattr(memory, "peak_memory_in_bytes", 0), kept + memory.temp_size_in_bytes),
        flops=float((compiled.cost_analysis() or {}).get("flops", 0.0)),
        collectives=_collectives(compiled.as_text()),
    )


def _collectives(program_text: str) -> dict[str, tuple[int, int]]:
    """HLO -> {kind: (count, bytes of their results)}."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for shapes, kind in COLLECTIVE.findall(program_text):
        counts[kind] += 1
        sizes[kind] += sum(
            int(bits) // 8 * int(np.prod([int(side) for side in sides.split(",") if side], dtype=np.int64))
            for _, bits, sides in ARRAY.findall(re.sub(r"\{[^}]*\}", "", shapes))
        )
    return {kind: (counts[kind], sizes[kind]) for kind in sorted(counts)}


def _column(program: Program, hbm: int | None) -> dict[str, str]:
    if program.error:
        return {"images": str(program.images), "does not fit": program.error}
    cells = {
        "images": str(program.images),
        "arguments": f"{program.arguments / MIB:.1f} MiB",
        "temporaries": f"{program.temporaries / MIB:.1f} MiB",
        "peak": f"{program.peak / MIB:.1f} MiB" + (f" of {hbm / GIB:.0f} GiB" if hbm else ""),
        "GFLOP": f"{program.flops / 1e9:.1f}",
    }
    return cells | {kind: f"{count} ({size:,} bytes)" for kind, (count, size) in program.collectives.items()}
