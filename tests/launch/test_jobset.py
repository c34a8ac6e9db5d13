"""The JobSet: its schema, and that its parts agree with each other and with the command."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from lfm_jax import presets
from lfm_jax.cli import build_parser
from lfm_jax.verbs.arguments import USAGE
from tests.helpers.launching import LAUNCH

SCHEMA = json.loads(Path(__file__).with_name("jobset_schema.json").read_text())


@pytest.fixture
def jobset():
    return yaml.safe_load((LAUNCH / "jobset.yaml").read_text())


def job(jobset):
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


def container(jobset):
    (only,) = job(jobset)["template"]["spec"]["containers"]
    return only


def test_the_jobset_follows_its_schema_and_its_job_that_of_kubernetes(jobset):
    jsonschema.validate(jobset, SCHEMA)
    validate = pytest.importorskip("kubernetes_validate", reason="checks against the schema of the kubernetes-validate package")
    resource = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "workers"}, "spec": job(jobset)}
    validate.validate(resource, "1.30", strict=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec["failurePolicy"].update(maxRestart=3),
        lambda spec: spec["failurePolicy"]["rules"][0].update(name="a-mistake"),
        lambda spec: spec["failurePolicy"]["rules"][0].update(onJobFailureReasons=["ExitCode"]),
        lambda spec: spec["network"].update(subDomain="lfm"),
        lambda spec: spec.pop("replicatedJobs"),
    ],
)
def test_the_schema_refuses_what_jobset_would_not_take(spoil, jobset):
    spoiled = copy.deepcopy(jobset)
    spoil(spoiled["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, SCHEMA)


def test_pods_find_each_other_and_the_command_takes_its_arguments(jobset):
    env = {entry["name"]: entry["value"] for entry in container(jobset)["env"]}
    assert job(jobset)["completionMode"] == "Indexed"
    assert job(jobset)["completions"] == job(jobset)["parallelism"] == int(env["JAX_NUM_PROCESSES"])
    host, port = env["JAX_COORDINATOR_ADDRESS"].split(":")
    workers = jobset["spec"]["replicatedJobs"][0]["name"]
    assert host == f"{jobset['metadata']['name']}-{workers}-0-0.{jobset['spec']['network']['subdomain']}"
    assert int(port) == container(jobset)["ports"][0]["containerPort"]
    verb, *argv = [*container(jobset)["command"][1:], *container(jobset)["args"]]
    args, rest = build_parser()[1][verb].parse_known_args(argv)
    assert args.config in presets.names()
    assert all(argument.startswith("--config.") for argument in rest)


def test_a_mistake_ends_the_run_and_any_other_failure_restarts_all_pods_once(jobset):
    (rule,) = job(jobset)["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"], rule["onExitCodes"]["operator"]) == ("FailJob", [USAGE], "In")
    assert rule["onExitCodes"]["containerName"] == container(jobset)["name"]
    policy = jobset["spec"]["failurePolicy"]
    assert [(rule["action"], rule["onJobFailureReasons"]) for rule in policy["rules"]] == [("FailJobSet", ["PodFailurePolicy"])]
    assert policy["maxRestarts"] > 0 == job(jobset)["backoffLimit"]
    assert job(jobset)["template"]["spec"]["restartPolicy"] == "Never"
