#!/usr/bin/env bash
# One process on every host of a Cloud TPU pod slice.
#
#   LFM_DIR=lfm_jax launch/tpu_pod.sh NAME ZONE --config=tpu_v5e --workdir=gs://BUCKET/run
#
# The arguments go to `lfm train`, or to another verb that takes --cluster if they begin with one (evaluate --weights=...).
# LFM_DIR is the path of the checkout on the hosts, installed there with `pip install -e '.[tpu,gcs]'`; set LFM_VENV if that
# was done in a virtual environment. The workdir is in a bucket, or a folder that all hosts can see, as the data must be.
# LFM_DATA_ROOT, if set, becomes --config.data.root. Run the same command again to resume.
set -euo pipefail

die() { echo "launch/tpu_pod.sh: $*" >&2; exit 2; }

[ $# -ge 3 ] || die "usage: launch/tpu_pod.sh NAME ZONE --config=PRESET --workdir=DIR"
name=$1 zone=$2
shift 2
: "${LFM_DIR:?launch/tpu_pod.sh: LFM_DIR is not set: the path of the checkout on the TPU hosts}"
command -v gcloud > /dev/null || die "no gcloud command: install the Google Cloud CLI and log in"

case $1 in -*) verb=train ;; *) verb=$1; shift ;; esac
[ -z "${LFM_DATA_ROOT:-}" ] || set -- "$@" "--config.data.root=$LFM_DATA_ROOT"
remote="cd $(printf %q "$LFM_DIR")"
[ -z "${LFM_VENV:-}" ] || remote+=" && source $(printf %q "$LFM_VENV/bin/activate")"
remote+=" && lfm $(printf %q "$verb") --cluster=tpu$(printf ' %q' "$@")"
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$remote"
