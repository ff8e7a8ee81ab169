# Every target sets up what it needs first, works from a clean clone, and can be run again.
PYTHON ?= python3.11
JOBS ?= $(shell n=$$(nproc); echo $$((n < 8 ? n : 8))) # tests side by side
# Two tests side by side, since a training wants a core and 4 GB. The files in their order: the longest come first.
PAIR := -n $(shell n=$(JOBS); echo $$((n < 2 ? n : 2))) --dist loadfile --no-loadscope-reorder
ARGS ?= # Hydra overrides for the demo, e.g. ARGS="vip.strategy=uniform"
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Threads that wait without spinning: two cores are shared by verl's processes.
export OMP_WAIT_POLICY ?= PASSIVE
# Each of verl's processes would compile all of its imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow quick check docs resolve contract server clean
.DEFAULT_GOAL := demo

# Train on this machine and print where the report is.
demo: $(READY)
	@$(BIN)/python -m verl_vip.recipes.demo $(ARGS)

# The quick tests, then those that start clusters, servers and trainings or install the package, two at a time.
test: quick
	$(BIN)/python -m pytest -m "heavy and not slow" $(PAIR)

# The tests that start no cluster, server or training, and install nothing.
quick: $(READY)
	$(BIN)/python -m pytest -m "not heavy and not slow" -n $(JOBS) --dist worksteal

# What make test leaves out: long faults, kills by the hundred, other releases of verl.
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(PAIR)

# Lint, format, types, and whether the generated pages are what the code says.
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

# The documentation as a site in build/site; fails on a broken link.
docs: $(READY)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Do the extras for GPU and CPU resolve? Asks the package index, installs nothing.
resolve: $(READY)
	$(BIN)/python environment/resolve.py

# A Prefect server on this machine with the flows' deployments, and a worker for them.
server: $(READY)
	$(BIN)/python -m verl_vip.flows.server $(ARGS)

# What breaks in other releases of verl? Downloads them from the package index, installs nothing.
contract: $(READY)
	$(BIN)/python environment/contract.py

# Remove the environment and every run.
clean:
	rm -rf $(VENV) runs build *.egg-info

$(READY): environment/cpu.txt environment/install.py pyproject.toml
	$(PYTHON) environment/install.py $(VENV)
