"""TPU hosts that Kubernetes starts, as XPK has it do: they are a TPU pod, although nothing names a coordinator."""

import pytest

from lfm_jax.errors import ConfigError
from lfm_jax.runtime.distributed import find_cluster

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}


def test_the_pods_of_a_tpu_slice_join_as_a_tpu_pod():
    cluster = find_cluster(POD | {"TPU_WORKER_HOSTNAMES": "lfm-0-0.lfm,lfm-0-1.lfm", "TPU_WORKER_ID": "1"})
    assert (cluster.kind, cluster.arguments) == ("TPU pod", {})


@pytest.mark.parametrize("hosts", [{}, {"TPU_WORKER_HOSTNAMES": "localhost"}])
def test_other_pods_of_an_indexed_job_still_need_a_coordinator(hosts):
    with pytest.raises(ConfigError, match="JAX_COORDINATOR_ADDRESS is not set"):
        find_cluster(POD | hosts)
