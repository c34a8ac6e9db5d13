#!/usr/bin/env bash
#SBATCH --job-name=lfm-predict
#SBATCH --output=lfm-predict-%A_%a.log
#SBATCH --requeue
# Score a large set of images with the tasks of a SLURM array, each a part of its own:
#
#   sbatch --array=0-63 launch/predict_array.sh --out=SHARED_DIR PATH ...
#   lfm predict --collect SHARED_DIR                                        # what is there, and which parts are missing
#
# The arguments go to `lfm predict`. Submit the same again to score what is missing: a part that is there is skipped. To
# submit some parts alone (--array=3,17), set LFM_PARTS to the number of all. Set LFM_VENV to the virtual environment to
# activate, if lfm is not on PATH.
set -euo pipefail

[ $# -gt 1 ] || { echo "launch/predict_array.sh: too few arguments for lfm predict: expected --out=DIR PATH ..." >&2; exit 2; }
: "${SLURM_ARRAY_TASK_ID:?launch/predict_array.sh: not inside a SLURM array: start it with sbatch --array=0-N}"
[ -n "${LFM_PARTS:-}" ] || [ "${SLURM_ARRAY_TASK_MIN:-0}" = 0 ] || { echo "launch/predict_array.sh: the array has to begin with 0, or LFM_PARTS say how many parts there are" >&2; exit 2; }
if [ -n "${LFM_VENV:-}" ]; then
  # shellcheck disable=SC1091
  source "$LFM_VENV/bin/activate"
fi
command -v lfm > /dev/null || { echo "launch/predict_array.sh: no lfm command: set LFM_VENV to the environment it is in" >&2; exit 2; }

exec lfm predict --shard="$SLURM_ARRAY_TASK_ID/${LFM_PARTS:-$((SLURM_ARRAY_TASK_MAX + 1))}" "$@"
