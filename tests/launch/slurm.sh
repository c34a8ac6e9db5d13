#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, over the loopback interface, for tests.
#
#   tests/launch/slurm.sh start DIR     # needs root, and Debian's slurm-wlm and munge; export SLURM_CONF=DIR/slurm.conf
#   tests/launch/slurm.sh stop DIR
#
# It writes only to DIR and ends only the processes that it started.
set -euo pipefail

[ $# = 2 ] || { echo "usage: tests/launch/slurm.sh start|stop DIR" >&2; exit 2; }
dir=$(realpath -m "$2")

if [ "$1" = stop ]; then
  # Jobs that still run would outlive the daemons.
  export SLURM_CONF=$dir/slurm.conf
  if jobs=$(squeue --noheader --format=%A 2> /dev/null) && [ -n "$jobs" ]; then
    # shellcheck disable=SC2086  # one word for each job
    scancel --signal=KILL --full $jobs || true
    # shellcheck disable=SC2086
    scancel $jobs || true
    for ((tries = 0; tries < 60; tries++)); do
      if [ -z "$(squeue --noheader 2> /dev/null)" ]; then break; fi
      sleep 0.5
    done
  fi
  for name in slurmd slurmctld munged; do
    if [ -s "$dir/$name.pid" ]; then kill "$(cat "$dir/$name.pid")" 2> /dev/null || true; fi
  done
  exit
fi

mkdir -p "$dir"/{state,spool}
# munge insists that others can write neither to this directory nor to those above it.
chmod 755 "$dir"
host=$(hostname -s)
port=$((30000 + RANDOM % 20000))
cat > "$dir/slurm.conf" << CONF
ClusterName=lfm
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
MpiDefault=none
ReturnToService=2
KillWait=60
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
export SLURM_CONF=$dir/slurm.conf
(umask 077 && head -c 1024 /dev/urandom > "$dir/munge.key")
munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
  --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
slurmctld
slurmd
for ((tries = 0; tries < 60; tries++)); do
  if [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; then exit; fi
  sleep 0.5
done
echo "tests/launch/slurm.sh: no idle node after 30 s:" >&2
tail -n 5 "$dir"/*.log >&2
exit 1
