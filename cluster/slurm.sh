#!/bin/bash
# A Ray cluster inside one Slurm allocation, one ttc command on it, and nothing left of either. From a
# directory that all nodes share, with the environment active that has ttc:
#
#   sbatch cluster/slurm.sh run my.yaml budget.flops=1e17
#   sbatch cluster/slurm.sh resume RUN_ID
#
#SBATCH --job-name=ttc
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=04:00:00
# Two minutes before the end ttc is told to stop in good order; resume goes on from there.
#SBATCH --signal=B:TERM@120
set -euo pipefail

if (($# < 2)); then
  echo "usage: sbatch cluster/slurm.sh run|sweep CONFIG [key=value…], or resume RUN_ID" >&2
  exit 2
fi
: "${SLURM_JOB_ID:?is not set: start this script with sbatch}" "${SLURM_CPUS_PER_TASK:?give --cpus-per-task}"
for command in ray ttc; do
  type -P "$command" >/dev/null || { echo "no $command on PATH: activate its environment" >&2; exit 2; }
done

# This script runs on the first node, and there the head will be. The job's id keeps two jobs' heads apart.
RAY_ADDRESS="$(hostname):$((20000 + SLURM_JOB_ID % 10000))"
# One token for all nodes, in a file of their common directory that nobody else can read.
RAY_AUTH_TOKEN_PATH="$(mktemp "$PWD/.ray-token-XXXXXXXX")"
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH"
unset RAY_AUTH_TOKEN # it would win over the file
SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun does not take this over from sbatch
export RAY_ADDRESS RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token SRUN_CPUS_PER_TASK

head_is_up() { (exec 3<>"/dev/tcp/${RAY_ADDRESS%:*}/${RAY_ADDRESS#*:}") 2>/dev/null; }

# Not `ray symmetric-run`: that ends with status 0 where Ray does not start, stops every Ray that the user
# has on a node, and refuses a node that has one. With --block, Ray ends with this process, and no other.
node() {
  local options=(--num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block)
  if ((SLURM_NODEID == 0)); then
    exec ray start --head --port="${RAY_ADDRESS#*:}" --include-dashboard=false "${options[@]}"
  fi
  until head_is_up; do sleep 1; done
  exec ray start --address="$RAY_ADDRESS" "${options[@]}"
}
export -f head_is_up node

end() { # a process of ours, in good order
  kill "$1" 2>/dev/null || true
  wait "$1" || true
}
stop() {
  trap '' TERM
  [[ -z "${ttc:-}" ]] || end "$ttc"
  [[ -z "${nodes:-}" ]] || end "$nodes"
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap stop EXIT
trap 'exit 143' TERM

srun --kill-on-bad-exit=1 bash -c node &
nodes=$!
until head_is_up; do
  kill -0 "$nodes" 2>/dev/null || { echo "Ray did not start" >&2; exit 1; }
  sleep 1
done

# Replicas start as their nodes join. "auto" is RAY_ADDRESS, so it is right also for a resume by another job.
ttc "$@" cluster.address=auto &
ttc=$!
wait "$ttc"
