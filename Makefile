# Two commands do all on a fresh machine with make and Python 3.11, 3.12 or 3.13: `make demo` and `make test`.
# The first Python that starts: a version manager leaves names that start nothing.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do $$name -c '' 2>/dev/null && echo $$name && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: demo cluster test quick-tests lint docs check-all minimum-versions wheels benchmarks clean
.DEFAULT_GOAL := test

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(if $(PYTHON),$(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "error: PYTHON is '$(PYTHON)', expected Python 3.11, 3.12 or 3.13. Install one, for instance by: uv python install 3.11. Then set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dask,s3,dev,devkit]'
	@touch $@

demo: $(VENV)/.installed  ## the main job on a small simulated world: from drives to a trained network's table
	env -u OMP_NUM_THREADS -u OPENBLAS_NUM_THREADS $(BIN)/depthmill demo --out demo

cluster: $(VENV)/.installed  ## Prefect on PostgreSQL, work pool and worker, Dask, S3, on this machine; Ctrl-C ends all
	@$(BIN)/python deploy/cluster/cluster.py

# What tests write goes to memory where there is room: a disk takes 4 ms to keep a file, and 4 ms to forget it.
ROOM_KB := 4000000
IN_MEMORY = $(shell [ -w /dev/shm ] && [ "$$(df -Pk /dev/shm | awk 'END { print $$4 }')" -gt $(ROOM_KB) ] && \
	[ "$$(awk '/MemAvailable/ { print $$2 }' /proc/meminfo)" -gt $$((2 * $(ROOM_KB))) ] && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)

test: $(VENV)/.installed  ## lint, types, import rules, and every quick test; side by side, since neither fills two cores
	@$(MAKE) --no-print-directory -j2 lint quick-tests

quick-tests: $(VENV)/.installed
	$(IN_MEMORY) $(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed  ## the site of these pages, in build/site; a warning is an error
	$(BIN)/python docs/build_site.py

check-all: lint  ## everything, the slow tests too
	$(BIN)/python -m pytest -m "not gpu"

# The lowest versions that pyproject.toml allows. What needs moto, a browser, Dask or a GPU is left to `make test`.
MINIMUM := .venv-minimum
MINIMUM_TESTS := tests/installation tests/storage_schemas tests/pipeline tests/plug_ins tests/model/data tests/model/train tests/flows/test_cli.py tests/flows/prefect

$(MINIMUM)/.installed: pyproject.toml tests/installation/minimum_versions.py
	rm -rf $(MINIMUM)
	$(PYTHON) -m venv $(MINIMUM)
	$(PYTHON) tests/installation/minimum_versions.py train test devkit > $(MINIMUM)/constraints.txt
	$(MINIMUM)/bin/python -m pip install --quiet --disable-pip-version-check -c $(MINIMUM)/constraints.txt -e '.[train,test,devkit]'
	@touch $@

minimum-versions: $(MINIMUM)/.installed  ## quick tests with the lowest versions of the dependencies
	PATH=$(abspath $(MINIMUM)/bin):$$PATH python -m pytest -m "not slow and not gpu" $(MINIMUM_TESTS)

# Pythons to try the wheel with, those that are here; WITH=--train also trains, which installs torch for each
PYTHONS := python3.11 python3.12 python3.13
WITH :=

wheels:  ## the wheel in a fresh environment for each Python: init, run and verify in an empty folder, the same bytes in each
	$(PYTHON) tests/installation/try_wheel.py --python $(PYTHONS) $(WITH)

# every script of benchmarks/; the studies, which train networks, last
CLAIMS := $(basename $(notdir $(sort $(shell grep -l __main__ benchmarks/*.py))))

benchmarks: $(VENV)/.installed  ## every claim with a number; hours, because of the studies
	for claim in $(filter-out %_study,$(CLAIMS)) $(filter %_study,$(CLAIMS)); do $(BIN)/python benchmarks/$$claim.py || exit 1; done

.PHONY: gpu-check
gpu-check:  ## eight minutes on a GPU, with the Python of this machine: nothing is installed (docs/operations/gpu-check.md)
	$(or $(wildcard $(BIN)/python),python3) benchmarks/gpu_check.py

clean:
	rm -rf demo $(VENV) $(MINIMUM) build *.egg-info
