"""Which of a node's GPUs belong to a task of SLURM.

JAX takes the GPU whose number is that of the task on its node. That is wrong under `--gpus-per-task=1`, where every task
sees one GPU, numbered 0 (jax issues 23452 and 28194), and leaves GPUs idle where there are more than tasks.
"""

import re
from collections.abc import Mapping

from lfm_jax.errors import ConfigError


def local_devices(env: Mapping[str, str]) -> list[int] | None:
    """The numbers, among the GPUs that this task sees, of those that it should use.

    A task that sees only its own takes all of them; tasks that see all GPUs of the node share them evenly.

    Returns:
      None where SLURM says nothing of GPUs, or JAX_LOCAL_DEVICE_IDS does: then JAX decides.

    Raises:
      ConfigError: the GPUs cannot be shared evenly.
    """
    visible = [name for name in (env.get("CUDA_VISIBLE_DEVICES") or env.get("ROCR_VISIBLE_DEVICES") or "").split(",") if name]
    if not visible or env.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    tasks, local = _tasks_on_this_node(env), int(env["SLURM_LOCALID"])
    if len(visible) < tasks or _sees_its_own_only(env, len(visible)):
        return list(range(len(visible)))
    share, left = divmod(len(visible), tasks)
    if left:
        raise ConfigError(
            f"{tasks} tasks on this node see the same {len(visible)} GPUs, which they cannot share evenly: give each task its own "
            "with --gpus-per-task=1, or say which to use in JAX_LOCAL_DEVICE_IDS"
        )
    return list(range(local * share, (local + 1) * share))


def _sees_its_own_only(env: Mapping[str, str], visible: int) -> bool:
    per_task = env.get("SLURM_GPUS_PER_TASK", "").rpartition(":")[2]  # "2" or "h100:2"
    if per_task.isdecimal():
        return visible <= int(per_task)  # more are visible with --gpu-bind=none
    return env.get("SLURM_GPU_BIND", "none") != "none"


def _tasks_on_this_node(env: Mapping[str, str]) -> int:
    """From SLURM_STEP_TASKS_PER_NODE, such as 8(x3),4."""
    text = env.get("SLURM_STEP_TASKS_PER_NODE") or env.get("SLURM_TASKS_PER_NODE") or env["SLURM_NTASKS"]
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    return counts[min(int(env.get("SLURM_NODEID") or 0), len(counts) - 1)] if counts else 1
