# `make help` lists what can be done. Every target makes .venv by itself and refreshes it when setup.cfg changes.

PYTHON ?= python3
JAX ?= cpu
CONFIG ?= configs/quickstart.yaml
ARGS ?=

EXTRA_cpu :=
EXTRA_cuda13 := cuda
EXTRA_tpu := tpu
ifeq ($(filter cpu cuda13 tpu,$(JAX)),)
$(error JAX=$(JAX) is not known: choose JAX=cpu, JAX=cuda13 or JAX=tpu)
endif

VENV := .venv/bin/python
# One stamp for what running needs and one for what development needs besides, each for the JAX it was made with.
RUNTIME := .venv/.runtime-$(JAX)
DEVELOPMENT := .venv/.development-$(JAX)

# A .venv whose Python is gone (it was upgraded or moved) is made again, whatever its stamps say.
REMAKE := $(shell test -x $(VENV) || echo remake)

comma := ,
empty :=
space := $(empty) $(empty)
# $(call requirement,EXTRA...) is `.` or `.[EXTRA,...]`
requirement = .$(if $(strip $(1)),[$(subst $(space),$(comma),$(strip $(1)))])

.NOTPARALLEL:
.PHONY: run test lint docs clean help remake

help:
	@echo "make run     train and evaluate on $(CONFIG), write out/$(notdir $(basename $(CONFIG)))/  (CONFIG=FILE for another)"
	@echo "make test    run the tests                           (ARGS='tests/config -x' for some of them)"
	@echo "make lint    check style, format and types"
	@echo "make docs    build the documentation, docs/_build/html/index.html"
	@echo "make clean   remove .venv, caches and build leftovers; runs in out/ stay"
	@echo
	@echo "XLA_FLAGS= make test compiles the tests' programs as users' are, which takes about 1.5 times as long."
	@echo "PYTHON=python3.12 makes .venv with that Python; JAX=cuda13 installs JAX for NVIDIA GPUs, JAX=tpu for TPUs."

run: $(RUNTIME)
	@$(VENV) scripts/train.py --config $(CONFIG) $(ARGS)

# More than eight workers would each compile the same functions and fill the memory of a large machine.
test: $(DEVELOPMENT)
	@$(VENV) -m pytest -q -n auto --maxprocesses 8 --dist loadscope --no-loadscope-reorder $(ARGS)

# The wrapper of pyright would otherwise ask the network for its latest version.
lint: export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
lint: $(DEVELOPMENT)
	@$(VENV) -m ruff check
	@$(VENV) -m ruff format --check
	@$(VENV) -m pyright

# A warning fails the build: each is a link that leads nowhere or a text that is not shown as it was written.
docs: $(DEVELOPMENT)
	@$(VENV) -m sphinx -q -E -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf .venv docs/_build docs/results .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -not -path './out/*' -exec rm -rf {} +

remake:

$(RUNTIME): setup.cfg pyproject.toml $(REMAKE)
	$(call install,jaxflow and what it runs on,$(EXTRA_$(JAX)))
	@touch $@

$(DEVELOPMENT): setup.cfg pyproject.toml $(REMAKE)
	$(call install,jaxflow with what its tests and checks need,test dev docs $(EXTRA_$(JAX)))
	@touch $(RUNTIME) $@

# $(call install,WHAT,EXTRA...) makes .venv if there is none and installs the working tree into it.
define install
	@test -x $(VENV) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: making .venv needs Python 3.11 or newer, which $(PYTHON) is not;" \
	    "name another one as in: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(VENV) || { echo "making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear .venv; }
	@$(VENV) -m pip --version >/dev/null 2>&1 || $(VENV) -m ensurepip >/dev/null
	@echo "installing $(1) into .venv (about 2 minutes the first time)"
	@$(VENV) -m pip install --quiet --disable-pip-version-check -e '$(call requirement,$(2))'
endef
