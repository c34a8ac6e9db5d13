"""Tasks of SLURM and their GPUs: each takes those that are its own, however SLURM numbers them."""

import pytest

from lfm_jax.errors import ConfigError
from lfm_jax.runtime.distributed import find_cluster
from lfm_jax.runtime.slurm import local_devices

STEP = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "3", "SLURM_STEP_NODELIST": "n[1-2]"}


def task(local, **env):
    return STEP | {"SLURM_LOCALID": str(local), "SLURM_STEP_TASKS_PER_NODE": "4(x2)"} | env


@pytest.mark.parametrize(
    ("env", "devices"),
    [
        (task(3, CUDA_VISIBLE_DEVICES="3", SLURM_GPUS_PER_TASK="1"), [0]),
        (task(3, CUDA_VISIBLE_DEVICES="0", SLURM_GPUS_PER_TASK="h100:1"), [0]),
        (task(1, CUDA_VISIBLE_DEVICES="2,3", SLURM_GPUS_PER_TASK="2"), [0, 1]),
        (task(3, CUDA_VISIBLE_DEVICES="0,1,2,3", SLURM_GPUS_PER_TASK="1", SLURM_GPU_BIND="none"), [3]),
        (task(3, CUDA_VISIBLE_DEVICES="0,1,2,3"), [3]),
        (task(3, CUDA_VISIBLE_DEVICES="0,1,2,3,4,5,6,7"), [6, 7]),
        (task(0, CUDA_VISIBLE_DEVICES="0,1,2,3", SLURM_GPU_BIND="per_task:4"), [0, 1, 2, 3]),
        (task(2, CUDA_VISIBLE_DEVICES="1"), [0]),
        (task(0, CUDA_VISIBLE_DEVICES="0,1,2,3", SLURM_STEP_TASKS_PER_NODE="4,1", SLURM_NODEID="1"), [0, 1, 2, 3]),
        (task(1, ROCR_VISIBLE_DEVICES="0,1,2,3"), [1]),
        (task(1), None),
        (task(1, CUDA_VISIBLE_DEVICES="0,1,2,3", JAX_LOCAL_DEVICE_IDS="2"), None),
    ],
)
def test_a_task_uses_the_gpus_that_are_its_own(env, devices):
    assert local_devices(env) == devices
    arguments = find_cluster(env).arguments
    assert arguments["cluster_detection_method"] == "slurm"
    assert arguments.get("local_device_ids") == devices


def test_gpus_that_cannot_be_shared_evenly_are_refused_with_the_numbers():
    with pytest.raises(ConfigError, match=r"4 tasks on this node see the same 6 GPUs.*--gpus-per-task=1"):
        find_cluster(task(0, CUDA_VISIBLE_DEVICES="0,1,2,3,4,5"))
