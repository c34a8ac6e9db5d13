#!/usr/bin/env bash
# So many minutes of training on a GPU that is only lent, and one file to go on from elsewhere.
#
#   launch/lent_gpu.sh 8 DIR --config.data.root=CORPUS --config.data.aligned.root=ALIGNED
#   WHEELS=wheels/ launch/lent_gpu.sh 8 DIR ...          # first install what that machine lacks, without a network
#   BEGUN=DIR.tar launch/lent_gpu.sh 8 DIR ...           # go on with what an earlier one left
#
# Trains the preset `wild_gpu`, or another if --config= is among the arguments, in the workdir DIR. A checkpoint is saved every
# minute, and once more after the last of these minutes. DIR.tar then holds config, metrics and the checkpoints, some 15 MB. To go
# on: unpack it on any machine, with a GPU or without, and run `lfm train` with the same arguments on that workdir.
set -euo pipefail

die() { echo "launch/lent_gpu.sh: $*" >&2; exit 2; }

[ $# -ge 2 ] || die "expected minutes and a workdir: launch/lent_gpu.sh 8 DIR --config.data.root=CORPUS"
minutes=$1 workdir=${2%/}
shift 2
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "$minutes: expected minutes, e.g. 8"
repository=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v python3 || command -v python) || die "no python on PATH"

if [ -n "${WHEELS:-}" ]; then
  site=$(mktemp -d)
  "$python" -m pip install -q --no-index --no-deps --target "$site" "$WHEELS"/*.whl
  export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

mkdir -p "$workdir"
[ -z "${BEGUN:-}" ] || tar -xf "$BEGUN" -C "$workdir"

case " $* " in *" --config="*) preset=() ;; *) preset=(--config=wild_gpu) ;; esac
status=0
timeout --preserve-status --signal=TERM --kill-after=60s "${minutes}m" \
  "$python" -m lfm_jax train "${preset[@]}" --workdir="$workdir" "$@" || status=$?

parts=()
for part in config.json metrics.jsonl checkpoints test; do
  [ ! -e "$workdir/$part" ] || parts+=("$part")
done
[ ${#parts[@]} -gt 0 ] || die "nothing was trained (status $status)"
tar -cf "$workdir.tar" -C "$workdir" "${parts[@]}"
echo "launch/lent_gpu.sh: $workdir.tar holds ${parts[*]}" >&2
[ "$status" != 143 ] || status=0 # told to stop after these minutes, and saved
exit "$status"
