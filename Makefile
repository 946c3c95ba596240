# Everything a fresh machine with python3 and make needs. `make help` lists the targets.
# Another Python: PYTHON=python3.12 make run

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check
TESTS  := $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
ROOT   := $(if $(filter 0,$(shell id -u)),--allow-root)  # Jupyter asks root, as in a container, to say so

# A target that fails half-way must not look finished.
.DELETE_ON_ERROR:
.PHONY: help run smoke book slides quick test check lab clean

help:
	@echo "make run    install, execute the notebooks at laptop size (some eleven minutes), say what to open next"
	@echo "make lab    install, open JupyterLab on a copy of the notebooks in course/, on this machine only"
	@echo "make smoke  install, execute the notebooks at small sizes"
	@echo "make book   install, execute what is not executed yet, make an HTML book of it in book/, to be read offline"
	@echo "make slides install, make a deck of the figures in slides.html, with speaker notes"
	@echo "make quick  install, check the code and run the tests that take no more than two seconds each"
	@echo "make test   install, check the code and run all tests"
	@echo "make clean  remove the environment and caches; runs/ and figures/ stay"

run: $(VENV)/installed
	@$(PY) -m lpsgld run --profile laptop

smoke: $(VENV)/installed
	@$(PY) -m lpsgld run --profile smoke

book: $(VENV)/installed
	@$(PY) -m lpsgld book --run

slides: $(VENV)/installed
	@$(PY) -m lpsgld slides

quick: check
	@$(TESTS) -m "not slow"

test: check
	@$(TESTS)

check: $(VENV)/installed-test
	@$(PY) -m ruff check .
	@$(VENV)/bin/codespell

lab: $(VENV)/installed
	@$(PY) -m lpsgld course course
	@$(PY) -m jupyterlab --ip=127.0.0.1 $(ROOT) \
		--ServerApp.root_dir="$(CURDIR)/course" --LabApp.default_url=/lab/tree/notebooks

clean:
	rm -rf $(VENV) build book reference slides.html *.egg-info .pytest_cache .ruff_cache .hypothesis

# The stamps: a repeat installs nothing, a changed requirement installs again.
$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "lpsgld needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." >&2; \
		echo "Name another one, for example: PYTHON=python3.12 make run" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
		echo "$(PYTHON) has no venv module (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e ".[course]"
	@touch $@

$(VENV)/installed-test: $(VENV)/created pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e ".[test]"
	@touch $@ $(VENV)/installed
