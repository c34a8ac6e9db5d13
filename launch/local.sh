#!/usr/bin/env bash
# Several processes on this machine, joined over the loopback interface.
#
#   launch/local.sh -n 2 --devices-per-process 4 --config=FILE.py --workdir=DIR    # 4 CPU devices in each: to try things
#   launch/local.sh -n 8 --gpus --config=FILE.py --workdir=DIR                     # one GPU in each
#   launch/local.sh -n 2 --devices-per-process 1 evaluate --weights=W --data=ROOT
#
# The other arguments go to `lfm train`, or to the verb they begin with. If a process dies, the others are
# ended and its number is said; SIGTERM and Ctrl-C go to all, and a training run saves before it stops.
set -euo pipefail

die() { echo "launch/local.sh: $*" >&2; exit 2; }

count="" devices="" gpus="" port=""
while [ $# -gt 0 ]; do
  case $1 in
    -n) count=${2:-}; shift 2 || die "-n needs the number of processes" ;;
    --devices-per-process) devices=${2:-}; shift 2 || die "--devices-per-process needs a number" ;;
    --gpus) gpus=yes; shift ;;
    --port) port=${2:-}; shift 2 || die "--port needs a number" ;;
    *) break ;;
  esac
done
[[ $count =~ ^[1-9][0-9]*$ ]] || die "-n ${count:-?}: expected the number of processes, e.g. -n 2"
[[ -z $devices || $devices =~ ^[1-9][0-9]*$ ]] || die "--devices-per-process $devices: expected a whole number"
[[ -n $devices || -n $gpus ]] || die "say --devices-per-process D (CPU devices) or --gpus (one for each process)"
[[ $# -gt 0 ]] || die "no arguments for lfm: expected e.g. --config=configs/tiny.py --workdir=DIR"
case $1 in -*) verb=train ;; *) verb=$1; shift ;; esac
command -v lfm > /dev/null || die "no lfm command on PATH: activate the environment that lfm_jax is installed in"

export JAX_COORDINATOR_ADDRESS=127.0.0.1:${port:-$((20000 + RANDOM % 20000))}
export JAX_NUM_PROCESSES=$count
if [ -n "$devices" ]; then
  export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=$devices
fi

pids=()
number() { # number PID: which process it is
  local i
  for i in "${!pids[@]}"; do
    if [ "${pids[$i]}" = "$1" ]; then echo "$i"; fi
  done
}
tell_all() { kill "-$1" "${pids[@]}" 2> /dev/null || true; }
trap 'tell_all TERM' TERM
trap 'tell_all INT' INT

for ((i = 0; i < count; i++)); do
  [ -z "$gpus" ] || export JAX_LOCAL_DEVICE_IDS=$i
  if [ "$i" = 0 ]; then
    JAX_PROCESS_ID=$i lfm "$verb" "$@" &
  else
    JAX_PROCESS_ID=$i lfm "$verb" "$@" > >(sed -u "s/^/[$i] /") 2> >(sed -u "s/^/[$i] /" >&2) &
  fi
  pids+=($!)
done

result=0
running=$count
while [ "$running" -gt 0 ]; do
  status=0
  wait -n -p ended "${pids[@]}" || status=$?
  [ -n "${ended:-}" ] || continue # a signal came, not an end
  who=$(number "$ended")
  unset "pids[$who]" ended
  running=$((running - 1))
  [ "$status" = 0 ] || [ "$result" != 0 ] || result=$status
  # 143, 3 and 130 are ends that all processes come to by themselves: told to stop, some images not scored, Ctrl-C.
  case $status in 0 | 3 | 130 | 143) continue ;; esac
  echo "launch/local.sh: process $who of $count died with status $status" >&2
  for ((wait_s = 0; wait_s < 10; wait_s++)); do
    if [ ${#pids[@]} = 0 ] || ! kill -0 "${pids[@]}" 2> /dev/null; then break; fi
    sleep 1
  done
  [ ${#pids[@]} = 0 ] || tell_all KILL
  wait || true
  exit "$status"
done
exit "$result"
