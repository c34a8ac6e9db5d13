#!/usr/bin/env bash
# One process on every host of a Cloud TPU pod slice.
#
#   LFM_DIR=lfm_jax launch/tpu_pod.sh NAME ZONE --config=configs/tpu_v5e.py --workdir=gs://BUCKET/run
#
# LFM_DIR is the checkout's path on the hosts, with `pip install -e '.[tpu,gcs]'` done in it (or in LFM_VENV, a virtual
# environment there). The workdir is in a bucket, or a folder that all hosts see. The data are in such a folder.
# LFM_DATA_ROOT, if set, becomes --config.data.root. The same command again resumes.
set -euo pipefail

die() { echo "launch/tpu_pod.sh: $*" >&2; exit 2; }

[ $# -ge 3 ] || die "usage: launch/tpu_pod.sh NAME ZONE --config=FILE.py --workdir=DIR"
name=$1 zone=$2
shift 2
: "${LFM_DIR:?launch/tpu_pod.sh: LFM_DIR is not set: the path of the checkout on the TPU hosts}"
command -v gcloud > /dev/null || die "no gcloud command: install the Google Cloud CLI and log in"

[ -z "${LFM_DATA_ROOT:-}" ] || set -- "$@" "--config.data.root=$LFM_DATA_ROOT"
remote="cd $(printf %q "$LFM_DIR")"
[ -z "${LFM_VENV:-}" ] || remote+=" && source $(printf %q "$LFM_VENV/bin/activate")"
remote+=" && lfm train --cluster=tpu$(printf ' %q' "$@")"
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$remote"
