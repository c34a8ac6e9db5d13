"""Finding the cluster that a process belongs to: every way to describe one, and half a description refused."""

import jax
import pytest

from lfm_jax.errors import ClusterError, ConfigError
from lfm_jax.runtime import distributed
from lfm_jax.runtime.distributed import find_cluster

SLURM_TASK = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "n[1-2]",
}
KUBERNETES_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
ADDRESS = {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2"}


@pytest.mark.parametrize(
    ("env", "flags", "kind", "arguments"),
    [
        ({}, {}, "single process", None),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7"}, {}, "single process", None),
        (SLURM_TASK, {"method": "none"}, "single process", None),
        (SLURM_TASK, {"num_processes": 1}, "single process", None),
        (SLURM_TASK, {}, "SLURM", {"cluster_detection_method": "slurm"}),
        (SLURM_TASK | {"SLURM_NTASKS": "1"}, {"method": "slurm"}, "SLURM", {"cluster_detection_method": "slurm"}),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c"}, {}, "TPU pod", {}),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, {}, "single process", None),
        ({}, {"method": "tpu"}, "TPU pod", {}),
        (
            SLURM_TASK,
            {"coordinator": "h:1", "num_processes": 4, "process_id": 3},
            "command line",
            {"coordinator_address": "h:1", "num_processes": 4, "process_id": 3},
        ),
        (
            SLURM_TASK | ADDRESS | {"JAX_PROCESS_ID": "0"},
            {},
            "environment",
            {"coordinator_address": "h:1", "num_processes": 2, "process_id": 0},
        ),
        (
            KUBERNETES_POD | ADDRESS,
            {},
            "Kubernetes indexed job",
            {"coordinator_address": "h:1", "num_processes": 2, "process_id": 1},
        ),
    ],
)
def test_each_kind_of_cluster_is_found(env, flags, kind, arguments):
    cluster = find_cluster(env, **flags)
    assert (cluster.kind, cluster.arguments) == (kind, arguments)
    assert cluster.reason


@pytest.mark.parametrize(
    ("env", "flags", "words"),
    [
        ({}, {"num_processes": 2}, ["--coordinator", "--process_id", "missing"]),
        ({}, {"coordinator": "h:1", "process_id": 0}, ["--num_processes is missing"]),
        ({}, {"coordinator": "h:1", "num_processes": 2, "process_id": 2}, ["process 2 of 2", "expected 0 to 1"]),
        ({}, {"coordinator": "h", "num_processes": 2, "process_id": 0}, ["'h'", "HOST:PORT"]),
        ({}, {"coordinator": "h:p", "num_processes": 2, "process_id": 0}, ["'h:p'", "HOST:PORT"]),
        ({"JAX_COORDINATOR_ADDRESS": "h:1"}, {}, ["JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "missing"]),
        (ADDRESS, {}, ["JAX_PROCESS_ID", "JOB_COMPLETION_INDEX"]),
        (ADDRESS | {"JAX_PROCESS_ID": "first"}, {}, ["JAX_PROCESS_ID = 'first'", "whole number"]),
        (KUBERNETES_POD, {}, ["pod 1", "JAX_COORDINATOR_ADDRESS", "launch/k8s.yaml"]),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}, {}, ["SLURM_STEP_NODELIST", "srun"]),
        ({}, {"method": "slurm"}, ["SLURM_JOB_ID", "srun"]),
    ],
)
def test_half_a_description_is_refused_naming_what_is_missing(env, flags, words):
    with pytest.raises(ConfigError) as caught:
        find_cluster(env, **flags)
    for word in words:
        assert word in str(caught.value)


def test_a_failure_to_join_is_reported(monkeypatch):
    def fail(**_):
        raise RuntimeError("DEADLINE_EXCEEDED: nobody came\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(ClusterError, match=r"joining by SLURM \(.*task 1\) failed: DEADLINE_EXCEEDED: nobody came$"):
        distributed.join(find_cluster(SLURM_TASK))


def test_fewer_processes_than_described_is_an_error(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: None)
    cluster = find_cluster({}, coordinator="h:1", num_processes=2, process_id=0)
    with pytest.raises(ClusterError, match=r"makes 2 process\(es\), but jax sees devices of 1"):
        distributed.join(cluster)


def test_joining_logs_the_kind_of_cluster_and_the_reason(caplog, capsys):
    with caplog.at_level("INFO"):
        distributed.join(find_cluster({}))
    assert "process 0 of 1 by single process: no flags" in caplog.text
    assert capsys.readouterr().err == ""
