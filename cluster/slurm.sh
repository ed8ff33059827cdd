#!/bin/bash
# A Ray cluster inside one Slurm allocation, one ttc command on it, and nothing left of either. From a
# directory that all nodes share, with the environment active that has ttc:
#
#   sbatch cluster/slurm.sh run my.yaml budget.flops=1e17                              # nodes without GPUs
#   sbatch --partition=gpu --gres=gpu:4 cluster/slurm.sh run my.yaml                   # 4 GPUs a node
#   sbatch cluster/slurm.sh resume RUN_ID
#
# The job goes on as the same run when Slurm starts it again (cluster/slurm.md). What it reads from
# the environment: TTC_INTERFACE (the network of Ray, Gloo and NCCL, as ib0), TTC_MAX_RESTARTS (20),
# RAY_TMPDIR (/tmp; short, on each node's own disk), and Hugging Face's HF_HOME and HF_HUB_OFFLINE.
#
#SBATCH --job-name=ttc
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=04:00:00
# Two minutes before the end this script is told, ends ttc in good order, and puts the job back in the queue.
# Not by TERM: that is what scancel sends, and a job that is cancelled must not come back.
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
# The loss of a node is Ray's to bear, not the job's end.
#SBATCH --no-kill
set -euo pipefail

if (($# < 2)); then
  echo "usage: sbatch cluster/slurm.sh run|sweep CONFIG [key=value…], or resume RUN_ID" >&2
  exit 2
fi
: "${SLURM_JOB_ID:?is not set: start this script with sbatch}" "${SLURM_CPUS_PER_TASK:?give --cpus-per-task}"
for command in ray ttc; do
  type -P "$command" >/dev/null || { echo "no $command on PATH: activate its environment" >&2; exit 2; }
done
# Slurm runs a copy of this script. The one that decides whether a run is begun lies beside the original.
script="$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|^ *Command=\(.*/\)slurm\.sh.*|\1|p' || true)"
begin="${script}run-or-resume"
[[ -x "$begin" ]] || { echo "no run-or-resume beside slurm.sh: $begin" >&2; exit 2; }
if [[ "${HF_HUB_OFFLINE:-0}" != 0 && -n "${HF_HOME:-}" && ! -d "$HF_HOME" ]]; then
  echo "HF_HOME=$HF_HOME: no such directory, and HF_HUB_OFFLINE forbids a download" >&2
  exit 2
fi

address_of() { # of an interface of this machine
  local found
  found="$(ip -4 -o address show dev "$1" 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}')"
  [[ -n "$found" ]] || { echo "TTC_INTERFACE=$1: no IPv4 address on $(hostname)" >&2; return 2; }
  echo "$found"
}

# This script runs on the first node, and there the head will be. The job's id keeps two jobs' heads apart: each
# has a port, and the next for Ray's client server, without which a head ends.
if [[ -n "${TTC_INTERFACE:-}" ]]; then
  head="$(address_of "$TTC_INTERFACE")"
  export GLOO_SOCKET_IFNAME="$TTC_INTERFACE" NCCL_SOCKET_IFNAME="$TTC_INTERFACE"
else
  head="$(hostname)"
fi
RAY_ADDRESS="$head:$((20000 + 2 * (SLURM_JOB_ID % 5000)))"
# Of this job, and of no other user: the run's name, each start's token, what Ray's nodes logged.
JOB="$PWD/slurm-$SLURM_JOB_ID"
TTC_START="$JOB/start-${SLURM_RESTART_COUNT:-0}"
(umask 077 && mkdir -p "$TTC_START")
# One token for all nodes, in a file that nobody else can read.
RAY_AUTH_TOKEN_PATH="$JOB/token"
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
unset RAY_AUTH_TOKEN # it would win over the file
SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun does not take this over from sbatch
export RAY_ADDRESS RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token SRUN_CPUS_PER_TASK TTC_START

head_is_up() { (exec 3<>"/dev/tcp/${RAY_ADDRESS%:*}/${RAY_ADDRESS#*:}") 2>/dev/null; }

# Another head would know nothing of the cluster that ttc has joined.
head_was_up() { ((SLURM_NODEID == 0)) && [[ -e "$TTC_START/head-was-up" ]]; }

gpus() { # that Slurm gave this job on this node
  local list="${SLURM_STEP_GPUS:-${SLURM_JOB_GPUS:-}}"
  if [[ -n "${SLURM_GPUS_ON_NODE:-}" ]]; then echo "$SLURM_GPUS_ON_NODE"; else wc -w <<<"${list//,/ }"; fi
}

# Not `ray symmetric-run`: that ends with status 0 where Ray does not start, stops every Ray that the user
# has on a node, and refuses a node that has one. With --block, Ray ends with this process, and no other.
node() {
  local address="" ray="" stopping="" status=143 began tries=0 port="${RAY_ADDRESS#*:}"
  local temporary="${RAY_TMPDIR:-/tmp}/ttc-$SLURM_JOB_ID-$SLURM_NODEID"
  local logs="$TTC_START/$SLURM_NODEID-$(hostname)"
  local options=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$(gpus)" --temp-dir="$temporary"
    --disable-usage-stats --block)
  if [[ -n "${TTC_INTERFACE:-}" ]]; then
    address="$(address_of "$TTC_INTERFACE")" || return
    export VLLM_HOST_IP="$address"
    options+=(--node-ip-address="$address")
  fi
  if [[ -n "${ROCR_VISIBLE_DEVICES:-}" && -z "${HIP_VISIBLE_DEVICES:-}${CUDA_VISIBLE_DEVICES:-}" ]]; then
    # Slurm sets the first for AMD's GPUs; Ray refuses it without the second, which numbers what it leaves.
    local others="${ROCR_VISIBLE_DEVICES//[^,]/}"
    HIP_VISIBLE_DEVICES="$(seq -s, 0 "${#others}")"
    export HIP_VISIBLE_DEVICES
  fi
  if ((SLURM_NODEID == 0)); then
    options+=(--head --port="$port" --ray-client-server-port=$((port + 1)) --include-dashboard=false)
  else
    options+=(--address="$RAY_ADDRESS")
  fi
  trap 'stopping=yes; kill "$ray" 2>/dev/null' TERM
  while [[ -z "$stopping" ]]; do
    until ((SLURM_NODEID == 0)) || head_is_up; do
      [[ -z "$stopping" ]] || return 143
      sleep 1
    done
    rm -rf "$temporary" # of an earlier start
    ray start "${options[@]}" &
    ray=$! began=$SECONDS status=0
    [[ -z "$stopping" ]] || kill "$ray" # it was told a moment ago
    while kill -0 "$ray" 2>/dev/null; do wait "$ray" || status=$?; done
    # Each node keeps its logs, however its Ray ended; those of an earlier start as NAME.~1~.
    mkdir -p "$logs"
    cp -r --backup=numbered "$temporary"/session_2*/logs/. "$logs/" ||
      echo "Ray's logs of $(hostname) are not all in $TTC_START" >&2
    if [[ -n "$stopping" ]] || ((status == 0 || SECONDS - began > 60 || tries == 3)) || head_was_up; then
      break
    fi
    tries=$((tries + 1))
    echo "Ray on $(hostname) died at its start: it is started again, $tries of 3" >&2
    sleep "$tries"
  done
  trap '' TERM
  ((SLURM_NODEID)) || touch "$TTC_START/head-ended"
  rm -rf "$temporary"
  return "$status"
}
export -f address_of gpus head_is_up head_was_up node

ended() { ! kill -0 "$1" 2>/dev/null; }
head_has_ended() { [[ -e "$TTC_START/head-ended" ]] || ended "$nodes"; }
end() { # a process of ours, in good order
  kill "$1" 2>/dev/null || true
  wait "$1" || true
}
within() { # so many seconds a process may take to end by itself
  local until=$((SECONDS + $1))
  until ended "$2" || ((SECONDS > until)); do sleep 0.2; done
}
stop() {
  trap '' TERM USR1
  if [[ -n "${ttc:-}" ]]; then
    end "$ttc"
    within 5 "$hearer" # its last words
  fi
  if [[ -n "${nodes:-}" ]]; then
    # srun itself takes SIGTERM for an order to kill; this one reaches the tasks of all nodes.
    for _ in 1 2 3; do
      ended "$nodes" || scancel --signal=TERM "$SLURM_JOB_ID" 2>/dev/null || true
      within 20 "$nodes"
    done
    end "$nodes"
  fi
  rm -f "$RAY_AUTH_TOKEN_PATH"
  [[ -z "${again:-}" ]] || requeue # last, since Slurm then ends this script
}
requeue() {
  if ((${SLURM_RESTART_COUNT:-0} >= ${TTC_MAX_RESTARTS:-20})); then
    echo "not put back in the queue: started again TTC_MAX_RESTARTS=${TTC_MAX_RESTARTS:-20} times" >&2
  elif scontrol requeue "$SLURM_JOB_ID"; then
    echo "job $SLURM_JOB_ID is back in the queue, and goes on from here" >&2
  else
    echo "not put back in the queue; it goes on after: scontrol requeue $SLURM_JOB_ID" >&2
  fi
}
trap stop EXIT
trap 'exit 143' TERM
trap 'again=yes; exit 130' USR1

rm -f "$TTC_START/head-ended" "$TTC_START/head-was-up"
srun --no-kill --kill-on-bad-exit=0 --wait=0 bash -c node &
nodes=$!
until head_is_up; do
  if head_has_ended; then
    echo "Ray did not start" >&2
    exit 1
  fi
  sleep 1
done

touch "$TTC_START/head-was-up"

# The first start of `ttc run` leaves the run's name and directory; a later one resumes that run. A resume
# and a sweep go on by themselves.
RUN="$JOB/run"
if [[ "$1" == run ]]; then
  shift
  set -- "$begin" --named "$RUN" "$@"
else
  set -- ttc "$@"
fi
hear() { # what ttc says, for the run that it names
  trap '' TERM USR1
  while IFS= read -r line; do
    printf '%s\n' "$line" >&2
    if [[ "$line" =~ ^run\ ([A-Za-z0-9._-]+)(\ in\ (.+))?$ ]]; then
      printf '%s\n' "${BASH_REMATCH[1]}" "${BASH_REMATCH[3]:-runs}" >"$RUN.new"
      mv "$RUN.new" "$RUN"
    fi
  done
}

# Replicas start as their nodes join. "auto" is RAY_ADDRESS, so it is right also for a resume by another job.
exec {words}> >(hear)
hearer=$!
"$@" cluster.address=auto 2>&"$words" {words}>&- &
ttc=$!
exec {words}>&-
until ended "$ttc"; do
  if head_has_ended; then
    echo "Ray's head has ended before ttc" >&2
    again=yes
    exit 1
  fi
  sleep 1
done
wait "$ttc"
