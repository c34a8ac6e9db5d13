#!/usr/bin/env bash
#SBATCH --job-name=lfm
#SBATCH --output=lfm-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
# One process per SLURM task. Choose nodes, tasks and GPUs with sbatch's own options:
#
#   sbatch --nodes=4 --ntasks-per-node=8 --gpus-per-task=1 launch/slurm.sh --config=PRESET --workdir=SHARED_DIR
#
# The arguments go to `lfm train`, or to another verb that takes --cluster if they begin with one (evaluate --weights=...).
# The workdir must be on storage that all nodes can see. The run saves and stops 120 s before the time limit, on scancel
# and on pre-emption. Unless it was cancelled, the job then goes back to the queue (not with LFM_REQUEUE=no) and resumes; the
# same sbatch again resumes it as well. Each task takes the GPUs that are its own, with --gpus-per-task or --gres=gpu:N. Set
# LFM_VENV to the virtual environment to activate, if lfm is not on PATH.
set -euo pipefail

[ $# -gt 0 ] || { echo "launch/slurm.sh: no arguments for lfm: expected --config=PRESET --workdir=DIR" >&2; exit 2; }
: "${SLURM_JOB_ID:?launch/slurm.sh: not inside a SLURM job: start it with sbatch}"
if [ -n "${LFM_VENV:-}" ]; then
  # shellcheck disable=SC1091
  source "$LFM_VENV/bin/activate"
fi
command -v lfm > /dev/null || { echo "launch/slurm.sh: no lfm command: set LFM_VENV to the environment it is installed in" >&2; exit 2; }

case $1 in -*) verb=train ;; *) verb=$1; shift ;; esac
# scancel signals this script too, and the time limit's --signal and a pre-emption with grace only the tasks.
cancelled=""
trap 'cancelled=yes' TERM
status=0
# If one task dies, the others cannot continue: end them at once and say which one it was.
srun --kill-on-bad-exit=1 --label lfm "$verb" --cluster=slurm "$@" || status=$?
if [ "$status" = 143 ] && [ -z "$cancelled" ] && [ "${LFM_REQUEUE:-yes}" != no ]; then
  echo "launch/slurm.sh: told to stop, and saved: back to the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
