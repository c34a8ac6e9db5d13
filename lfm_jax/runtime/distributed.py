"""How this process finds and joins others, agrees with them, and learns that it has to stop.

`find_cluster` reads the command line and the environment, and `join` connects jax accordingly and logs why. A cluster
that is only half described, or cannot be joined, is an error: a pod must never train as many separate jobs. This is
the only user of jax.distributed.
"""

import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

from lfm_jax.errors import ClusterError, ConfigError, first_line
from lfm_jax.runtime.coordinator import await_coordinator, ended_after, require_free_port
from lfm_jax.runtime.devices import devices
from lfm_jax.runtime.exchange import gather
from lfm_jax.runtime.progress import only_here, say
from lfm_jax.runtime.slurm import local_devices

log = logging.getLogger(__name__)
JOIN_SECONDS = 300
HEARTBEAT_SECONDS = 60  # a process not heard from for this long counts as dead, and the others stop
ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
KUBERNETES_INDEX = "JOB_COMPLETION_INDEX"
TPU_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")


@dataclass(frozen=True)
class Cluster:
    """The processes that this one belongs to.

    Attributes:
      kind: what describes the cluster, e.g. "SLURM" or "command line".
      reason: why that was chosen, for the log.
      arguments: of jax.distributed.initialize; None for a process that is alone.
    """

    kind: str
    reason: str
    arguments: dict[str, Any] | None = None


def find_cluster(
    env: Mapping[str, str],
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    method: str = "auto",
) -> Cluster:
    """Find out which cluster this process belongs to.

    The first description that applies wins: flags, JAX_* variables, SLURM, TPU pod, and otherwise the process is alone.

    Args:
      env: environment variables.
      coordinator, num_processes, process_id: values of the flags, None where not given.
      method: "auto", or "slurm", "tpu" or "none" to insist on that one.

    Raises:
      ConfigError: a description lacks a part, or contradicts itself; names the part.
    """
    if method == "none" or (num_processes == 1 and coordinator is None):
        return Cluster("single process", "as requested")
    if method == "slurm":
        return _slurm(env, "--cluster=slurm")
    if method == "tpu":
        return Cluster("TPU pod", "--cluster=tpu", {})
    flags = {"--coordinator": coordinator, "--num_processes": num_processes, "--process_id": process_id}
    if any(value is not None for value in flags.values()):
        return _explicit("command line", flags)
    if env.get(ADDRESS):
        index = INDEX if env.get(INDEX) else KUBERNETES_INDEX
        kind = "environment" if index == INDEX else "Kubernetes indexed job"
        parts = {ADDRESS: env[ADDRESS], COUNT: _number(env, COUNT), f"{INDEX} (or {KUBERNETES_INDEX})": _number(env, index)}
        return _explicit(kind, parts)
    if int(env.get("SLURM_NTASKS") or 1) > 1:
        return _slurm(env, f"SLURM_NTASKS={env['SLURM_NTASKS']}")
    for name in TPU_HOSTS:
        if "," in env.get(name, ""):
            return Cluster("TPU pod", f"{name} lists {env[name].count(',') + 1} hosts", {})
    if env.get(KUBERNETES_INDEX) and env.get("KUBERNETES_SERVICE_HOST"):
        raise ConfigError(
            f"this is pod {env[KUBERNETES_INDEX]} of an indexed Kubernetes job, but {ADDRESS} is not set: set it and {COUNT} "
            "as launch/k8s.yaml does, or pass --cluster=none to run in this pod alone"
        )
    return Cluster("single process", "no flags and no JAX_*, SLURM, TPU pod or Kubernetes variables describe a cluster")


def join(cluster: Cluster, *, seconds: int = JOIN_SECONDS) -> None:
    """Connect to the other processes. To be called before anything touches a device; afterwards only process 0 prints.

    The process ends, with a line, if not all have joined within `seconds`.

    Raises:
      ClusterError: the others could not be reached in time, or their number differs from the description.
      UserError: jax cannot use the devices that JAX_PLATFORMS names.
    """
    if cluster.arguments is not None:
        _initialize(cluster, cluster.arguments, seconds)
    devices()
    expected = (cluster.arguments or {"num_processes": 1}).get("num_processes", jax.process_count())
    if jax.process_count() != expected:
        raise ClusterError(
            f"{cluster.kind} ({cluster.reason}) makes {expected} process(es), but jax sees devices of {jax.process_count()}: "
            "a part of a pod must join the rest, see launch/README.md"
        )
    only_here(is_main())
    # A single process, the usual case, is not worth a line in the terminal.
    (say if jax.process_count() > 1 else log.info)(
        f"process {jax.process_index()} of {jax.process_count()} by {cluster.kind}: {cluster.reason}; "
        f"{jax.device_count()} {jax.devices()[0].platform} device(s), {jax.local_device_count()} here"
    )


def _initialize(cluster: Cluster, arguments: dict[str, Any], seconds: int) -> None:
    address, index = arguments.get("coordinator_address"), arguments.get("process_id")
    description = f"{cluster.kind} ({cluster.reason})"
    place = f"{address} as process {index} of {arguments['num_processes']}" if address else f"the others by {description}"
    say(f"joining {place}, for at most {seconds} s")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    limits = {
        "initialization_timeout": seconds + 60,  # ours comes first: it ends in a line, jax's in a C++ stack
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "shutdown_timeout_seconds": HEARTBEAT_SECONDS,
    }
    start = time.monotonic()
    if address and index == 0:
        require_free_port(address)
    elif address:
        await_coordinator(address, seconds=seconds)
    late = f"not all processes had joined by {description} after {seconds} s: start all of them with the same address and "
    late += "number of processes, or wait longer with --join_seconds"
    try:
        with ended_after(seconds - (time.monotonic() - start), line=f"lfm: {late}"):
            jax.distributed.initialize(**(arguments | limits))
    except Exception as error:  # jax raises RuntimeError, ValueError or its own for the same fault
        raise ClusterError(f"joining by {description} failed: {first_line(error)}") from error


def is_main() -> bool:
    """Whether this is the process that writes the files and prints."""
    return jax.process_index() == 0


def require_agreement(facts: Mapping[str, Any], what: str) -> None:
    """Raises ConfigError, naming those that differ, unless all processes have the same facts, JSON values by name.

    Processes that compute different things together would hang, or train on garbage.
    """
    everywhere = gather(dict(facts))
    for number, others in enumerate(everywhere[1:], start=1):
        names = sorted(name for name in everywhere[0].keys() | others if everywhere[0].get(name) != others.get(name))
        if names:
            differences = "".join(f"\n  {name}: {everywhere[0].get(name)!r} and {others.get(name)!r}" for name in names)
            raise ConfigError(f"processes 0 and {number} differ in {what}; start all of them alike:{differences}")


class StopNotice:
    """Turns SIGTERM and Ctrl-C into a question to ask after each step, so that a run told to stop can save first.

    Use it as a context manager. With several processes jax catches SIGTERM on any of them and makes all stop after
    the same step. A second Ctrl-C ends the process at once.
    """

    def __init__(self) -> None:
        self._heard = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopNotice":
        self._before = {signal.SIGINT: signal.signal(signal.SIGINT, self._interrupted)}
        if jax.process_count() == 1:
            self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        say("saving after this step; Ctrl-C once more ends the run at once, without saving")
        signal.raise_signal(signal.SIGTERM)

    def after(self, step: int) -> bool:
        """Whether to save and stop after `step`. Every process must ask after every step."""
        return self._heard or (jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step))

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        self._heard = True


def _explicit(kind: str, parts: Mapping[str, Any]) -> Cluster:
    """A cluster from its three parts, named for error messages: coordinator, number of processes, number of this one."""
    missing = [name for name, value in parts.items() if value is None]
    if missing:
        present = ", ".join(f"{name} = {value}" for name, value in parts.items() if value is not None)
        raise ConfigError(f"{present} describes a cluster, but {' and '.join(missing)} is missing")
    address, count, index = parts.values()
    if not 0 <= index < count:
        raise ConfigError(f"{kind}: process {index} of {count}: expected 0 to {count - 1}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"{kind}: coordinator {address!r}: expected HOST:PORT")
    arguments = {"coordinator_address": address, "num_processes": count, "process_id": index}
    return Cluster(kind, f"process {index} of {count}, coordinator {address}", arguments)


def _slurm(env: Mapping[str, str], reason: str) -> Cluster:
    needed = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST")
    missing = [name for name in needed if name not in env]
    if missing:
        raise ConfigError(
            f"{reason}, but {', '.join(missing)} is not set, so this is not a job step: start the tasks with srun, as "
            "launch/slurm.sh does, or pass --cluster=none to run in this process alone"
        )
    arguments: dict[str, Any] = {"cluster_detection_method": "slurm"}
    if ours := local_devices(env):
        arguments["local_device_ids"] = ours
    return Cluster("SLURM", f"{reason}, job {env['SLURM_JOB_ID']}, task {env['SLURM_PROCID']}", arguments)


def _number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if text and not text.isdecimal():
        raise ConfigError(f"{name} = {text!r}: expected a whole number")
    return int(text) if text else None
