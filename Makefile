# `make demo` and `make test` do all the set-up; only the first call installs.

PYTHON ?= python3
OUT ?= runs/demo
WORKERS ?= 2
PORT ?= 8000

# Paths are relative, so the folder may be anywhere, also below a name with spaces.
VENV := .venv
SITE := build/docs
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python -m

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint format doctest site docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## create .venv and install the project into it

demo: $(STAMP) ## fit a VAE to handwritten digits, estimate log p(x), draw the figures
	$(VENV)/bin/pyrovae demo --out "$(OUT)" --resume true

test: $(STAMP) ## lint, the site, doctests and tests
	$(MAKE) --no-print-directory --jobs 2 lint site
	OMP_NUM_THREADS=1 $(RUN) pytest -n $(WORKERS) --dist loadgroup

lint: $(STAMP) ## ruff and mypy
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: $(STAMP) ## format the files with ruff
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

doctest: $(STAMP) ## the examples in the docstrings only
	OMP_NUM_THREADS=1 $(RUN) pytest pyrovae

site: $(STAMP) ## build the documentation in build/docs; warnings are errors
	rm -rf $(SITE)
	OMP_NUM_THREADS=1 $(RUN) sphinx -c docs -d build/doctrees -E -W --keep-going -q . $(SITE)
	@echo "The documentation is in $(SITE)/docs/index.html."

docs: site ## build the documentation and show it in the browser
	@if [ -t 0 ] && [ -z "$$CI" ]; then \
	  echo "Open http://127.0.0.1:$(PORT)/ and press Ctrl-C to stop (another port: make docs PORT=8001)."; \
	  $(RUN) http.server --bind 127.0.0.1 --directory $(SITE) $(PORT) >/dev/null 2>&1 || { \
	    echo "Port $(PORT) is taken: name another one, as in 'make docs PORT=8001'." >&2; exit 1; }; \
	fi

clean: ## remove .venv and build files, but not runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	rm -f docs/api/*.rst
	find pyrovae tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One pip call installs torch and torchvision, so that their binaries match. The stamp is written
# last, so an interrupted installation is continued.
$(STAMP): pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "PyroVAE needs Python 3.11 or newer, and '$(PYTHON)' is older or missing: name one, as in 'make test PYTHON=python3.12'." >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' || { \
	  echo "'$(PYTHON)' cannot make virtual environments: install its venv package (on Debian and Ubuntu 'apt install python3-venv')." >&2; exit 1; }
	test -x $(VENV)/bin/python || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes and about 6 GB, most of it torch."
	$(RUN) pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@
