#!/usr/bin/env bash
# For the first person with a GPU: installs, runs a small public model on each path, and writes one page to send back.
#
#   cluster/gpu-check.sh                 # 20 minutes or so; build/gpu-check/gpu-check.md
#   cluster/gpu-check.sh --list          # the steps, and what each runs
#   cluster/gpu-check.sh --only kill     # one of them
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ ! -x .venv/bin/python ]]; then
  "${PYTHON:-python3}" -m venv .venv
  .venv/bin/pip install -q --disable-pip-version-check -c cluster/constraints-gpu.txt -e '.[gpu]'
fi
exec .venv/bin/python -m orchestrator.benchmarks.gpu_check "$@"
