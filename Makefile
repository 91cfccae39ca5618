# Both targets set everything up for themselves: Debian 12, Python 3.11 with pip, and make are enough.
PYTHON ?= python3
VENV := .venv
# Written last by the installation, so a half-made environment is made again.
READY := $(VENV)/ready-$(shell cksum pyproject.toml | cut -d' ' -f1)

.PHONY: quickstart test lint install
quickstart: install
	$(VENV)/bin/couplet quickstart $(ARGS)

test: install
	$(VENV)/bin/python -m pytest $(ARGS)

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

install: $(READY)

# Debian ships venv without ensurepip unless python3-venv is installed; pip can fill an empty environment itself.
$(READY): pyproject.toml
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -e '.[dev]'
	touch $@
