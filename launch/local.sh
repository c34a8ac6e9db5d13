#!/usr/bin/env bash
# Several processes on this machine, joined over the loopback interface.
#
#   launch/local.sh -n 2 --devices-per-process 4 --config=PRESET --workdir=DIR     # 4 CPU devices per process, to try it out
#   launch/local.sh -n 8 --gpus --config=PRESET --workdir=DIR                      # one GPU per process
#   launch/local.sh -n 2 --devices-per-process 1 evaluate --weights=W --data=ROOT
#
# The remaining arguments go to `lfm train`, or to another verb if they begin with one. If a process dies, its number is
# reported and the others are ended. SIGTERM and Ctrl-C go to all of them, and a training run saves before it stops.
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
[[ -n $devices || -n $gpus ]] || die "choose --devices-per-process D (CPU devices) or --gpus (one per process)"
[[ $# -gt 0 ]] || die "no arguments for lfm: expected e.g. --config=tiny --workdir=DIR"
case $1 in -*) verb=train ;; *) verb=$1; shift ;; esac
command -v lfm > /dev/null || die "no lfm command on PATH: activate the environment that lfm_jax is installed in"

export JAX_COORDINATOR_ADDRESS=127.0.0.1:${port:-$((20000 + RANDOM % 20000))}
export JAX_NUM_PROCESSES=$count
if [ -n "$devices" ]; then
  export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=$devices
fi

pids=()
number() { # number PID: the number of that process
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
  [ -n "${ended:-}" ] || continue # woken by a signal, not by the end of a process
  who=$(number "$ended")
  unset "pids[$who]" ended
  running=$((running - 1))
  [ "$status" = 0 ] || [ "$result" != 0 ] || result=$status
  # With these, all processes end by themselves: 3 some images not scored, 130 Ctrl-C, 143 told to stop.
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
