"""How this process joins others, agrees with them, and learns that it has to stop. The only user of jax.distributed.

In: command-line flags and the environment. Out: one `Cluster`, said aloud with its reason, and jax joined to
it. A cluster that is only half described, or cannot be joined, is an error: a pod must never train as so many
separate jobs.
"""

import json
import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lfm_jax.errors import ClusterError, ConfigError, first_line
from lfm_jax.runtime.progress import only_here, say

log = logging.getLogger(__name__)
JOIN_SECONDS = 300
HEARTBEAT_SECONDS = 60  # a process not heard of for so long counts as dead, and the others stop
ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
KUBERNETES_INDEX = "JOB_COMPLETION_INDEX"
TPU_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")


@dataclass(frozen=True)
class Cluster:
    """How this process was found to belong to others: `arguments` of jax.distributed.initialize, None where it is alone."""

    how: str
    why: str
    arguments: dict[str, Any] | None = None


def find_cluster(
    env: Mapping[str, str],
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    method: str = "auto",
) -> Cluster:
    """Flags and environment -> Cluster. The first that applies: flags, JAX_* variables, SLURM, TPU pod, alone.

    Raises:
      ConfigError: a description with a part missing; names the part.
    """
    if method == "none" or (num_processes == 1 and coordinator is None):
        return Cluster("single process", "asked for")
    if method == "slurm":
        return _slurm(env, "--cluster=slurm")
    if method == "tpu":
        return Cluster("TPU pod", "--cluster=tpu", {})
    flags = {"--coordinator": coordinator, "--num_processes": num_processes, "--process_id": process_id}
    if any(value is not None for value in flags.values()):
        return _explicit("command line", flags)
    if env.get(ADDRESS):
        index = INDEX if env.get(INDEX) else KUBERNETES_INDEX
        how = "environment" if index == INDEX else "Kubernetes indexed job"
        found = {ADDRESS: env[ADDRESS], COUNT: _number(env, COUNT), f"{INDEX} (or {KUBERNETES_INDEX})": _number(env, index)}
        return _explicit(how, found)
    if env.get(KUBERNETES_INDEX) and env.get("KUBERNETES_SERVICE_HOST"):
        raise ConfigError(
            f"this is pod {env[KUBERNETES_INDEX]} of an indexed Kubernetes job, but {ADDRESS} is not set: set it and {COUNT} "
            "as launch/k8s.yaml does, or pass --cluster=none to train in this pod alone"
        )
    if int(env.get("SLURM_NTASKS") or 1) > 1:
        return _slurm(env, f"SLURM_NTASKS={env['SLURM_NTASKS']}")
    for name in TPU_HOSTS:
        if "," in env.get(name, ""):
            return Cluster("TPU pod", f"{name} lists {env[name].count(',') + 1} hosts", {})
    return Cluster("single process", "no flags, JAX_*, SLURM, TPU pod or Kubernetes variables name any other")


def join(cluster: Cluster) -> None:
    """Join, before anything touches a device; from here only process 0 talks.

    Raises:
      ClusterError: the others were not reached in time, or are not as many as was said.
    """
    if cluster.arguments is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        limits = {
            "initialization_timeout": JOIN_SECONDS,
            "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
            "shutdown_timeout_seconds": HEARTBEAT_SECONDS,
        }
        try:
            jax.distributed.initialize(**(cluster.arguments | limits))
        except Exception as error:  # jax raises RuntimeError, ValueError and its own for one and the same fault
            raise ClusterError(f"joining by {cluster.how} ({cluster.why}) failed: {first_line(error)}") from error
    expected = (cluster.arguments or {"num_processes": 1}).get("num_processes", jax.process_count())
    if jax.process_count() != expected:
        raise ClusterError(
            f"{cluster.how} ({cluster.why}) makes {expected} process(es), but the devices here are of {jax.process_count()}: "
            "a part of a pod must join the rest, see launch/README.md"
        )
    only_here(is_main())
    # For one process alone, as most are, this is not worth a line in the terminal.
    (say if jax.process_count() > 1 else log.info)(
        f"process {jax.process_index()} of {jax.process_count()} by {cluster.how}: {cluster.why}; "
        f"{jax.device_count()} {jax.devices()[0].platform} device(s), {jax.local_device_count()} here"
    )


def is_main() -> bool:
    """Whether this process writes the files and talks."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """A JSON-able value of each process -> all of them, by process, on every process."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([len(text)], np.int32)).reshape(-1)
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(text)] = text
    rows = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
    return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]


def agreed(value: bool) -> bool:
    """What process 0 says."""
    return gather(value)[0]


class StopNotice:
    """SIGTERM as a question asked after each step, so that a run told to stop can save first. Use as a context manager.

    With several processes jax hears the signal, on any of them, and has all stop after the same step.
    """

    def __init__(self) -> None:
        self._heard = False

    def __enter__(self) -> "StopNotice":
        if jax.process_count() == 1:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *_: Any) -> None:
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._before)

    def after(self, step: int) -> bool:
        """Whether to save and stop after `step`; to be asked for every step, by every process."""
        return self._heard or (jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step))

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        self._heard = True


def _explicit(how: str, found: Mapping[str, Any]) -> Cluster:
    missing = [name for name, value in found.items() if value is None]
    if missing:
        given = ", ".join(f"{name} = {value}" for name, value in found.items() if value is not None)
        raise ConfigError(f"{given} describes a cluster, but {' and '.join(missing)} is missing")
    address, count, index = found.values()
    if not 0 <= index < count:
        raise ConfigError(f"{how}: process {index} of {count}: expected 0 to {count - 1}")
    if ":" not in address:
        raise ConfigError(f"{how}: coordinator {address!r}: expected HOST:PORT")
    arguments = {"coordinator_address": address, "num_processes": count, "process_id": index}
    return Cluster(how, f"process {index} of {count}, coordinator {address}", arguments)


def _slurm(env: Mapping[str, str], why: str) -> Cluster:
    needed = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST")
    missing = [name for name in needed if name not in env]
    if missing:
        raise ConfigError(
            f"{why}, but {', '.join(missing)} is not set, as outside of a job step: start the tasks with srun "
            "(launch/slurm.sh does), or pass --cluster=none to train in this process alone"
        )
    return Cluster("SLURM", f"{why}, job {env['SLURM_JOB_ID']}, task {env['SLURM_PROCID']}", {"cluster_detection_method": "slurm"})


def _number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if text and not text.isdecimal():
        raise ConfigError(f"{name} = {text!r}: expected a whole number")
    return int(text) if text else None
