# Each target sets up .venv by itself: `make demo` in a fresh clone is enough.
# PYTHON=/path/to/python3.12 make demo    chooses the Python that .venv is made with (3.10 to 3.14; a newer one is tried, with a note)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lab notebooks export readme docs matrix clean
MAKEFLAGS += --no-print-directory

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.semipose-ready
comma := ,

# A Python of the right age that can also make an environment (Debian keeps that part in a package of its own)
RIGHT   := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2])
TRIED   := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.10 python3.14 python3)

# A .venv that is a link is somebody else's: nothing is installed there, and this clone's code goes before any it holds.
LINK := $(shell readlink $(VENV))
ifneq ($(LINK),)
export PYTHONPATH := $(CURDIR)$(addprefix :,$(PYTHONPATH))
endif

help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/' | expand -t 18

demo: $(READY)  ## draw people, train on this machine, watch the collapse and its cure: runs/demo/report.html
	@$(BIN)/semipose demo $(ARGS)

test: $(READY)  ## run every check: notebooks clean and in step, floors, ruff, every notebook executed, tests/, JupyterLab in a browser
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

lab: $(READY)  ## open JupyterLab on the first tutorial
	@$(BIN)/jupyter lab $$([ "$$(id -u)" = 0 ] && echo --allow-root) nbs/tutorials/01_first_look.ipynb

notebooks: $(READY)  ## run notebooks in place and tidy them: all, or NB=nbs/01_geometry.ipynb
	@OMP_NUM_THREADS=1 $(BIN)/python scripts/execute.py $(NB)

export: $(READY)  ## write semipose/*.py from the notebooks, and clean the notebooks
	@$(BIN)/nbdev_export && $(BIN)/nbdev_clean && PYTHONPATH=$(CURDIR):$${PYTHONPATH:-} $(BIN)/python scripts/method_table.py

readme: $(READY)  ## write README.md from nbs/index.ipynb
	@$(BIN)/python scripts/readme.py

docs: $(READY)  ## write all notebooks as one small site to read in a browser: site/index.html
	@$(BIN)/python scripts/docs.py

matrix:  ## a quick part of the checks under every Python on this machine, each in an environment of its own: .matrix/
	@bash scripts/matrix.sh

clean:  ## remove caches and build outputs; .venv/, runs/ and data/ stay
	@rm -rf build dist site .matrix *.egg-info .hypothesis .pytest_cache .ruff_cache nbs/.last_checked
	@find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

# Made once, and brought up to date when pyproject.toml changes; an install that was cut short goes on where it was.
$(READY): pyproject.toml
	@if [ ! -e $(VENV) ] && [ ! -L $(VENV) ]; then \
	  for python in $(PYTHONS) none; do if $$python -c '$(RIGHT)' 2>/dev/null; then break; fi; done; \
	  if [ $$python = none ]; then \
	    echo "semipose needs Python 3.10 to 3.14 with its venv module (tried: $(PYTHONS)): install one, on Debian or Ubuntu" \
	         "with 'apt install python3-venv', or name yours: make PYTHON=/path/to/python3.12 $(or $(MAKECMDGOALS),demo)" >&2; exit 1; fi; \
	  $$python -c '$(TRIED)' || echo "$$($$python --version) is newer than those that were tried (Python 3.10 to 3.14):" \
	    "if pip finds no wheel for it, name an older one: make PYTHON=/path/to/python3.12 $(or $(MAKECMDGOALS),demo)" >&2; \
	  echo "Setting up $(VENV) with $$($$python --version), once: PyTorch is large (6 GB on disk), so this takes some minutes."; \
	  $$python -m venv $(VENV); \
	elif ! $(BIN)/python -c '$(RIGHT)' 2>/dev/null; then \
	  echo "$(VENV)$(if $(LINK), is a link to $(LINK)$(comma) which) holds no working Python 3.10 to 3.14: remove it and run make again." >&2; exit 1; fi
	@if [ -L $(VENV) ]; then echo "$(VENV) is a link to $(LINK): it is used as it is, nothing is installed there." >&2; \
	else $(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]' && touch $@; fi
