# Two commands matter: `make run` and `make test`. Everything is set up in this folder.

# The first Python that is new enough.
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; \
    done)

VENV := .venv
TOX_VENV := .venv-tox
TOX := $(TOX_VENV)/bin/tox run
SOURCES := setup.py pyproject.toml $(shell find overlord twisted -name '*.py' -o -name '*.pxd')
PIP_INSTALL := -m pip --disable-pip-version-check install --quiet

# py311, for example: the Python that the gate tests with.
PY = $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')

# pyenv keeps its Pythons off the PATH; the soak wants them all.
PYENV_ROOT ?= $(HOME)/.pyenv
PYENV_PATH = $(shell ls -d "$(PYENV_ROOT)"/versions/3.1[123].*/bin 2>/dev/null | tr '\n' ':')

# What `make run` passes on: make run SERVER=redis-server ARGS="--servers 5"
SERVER :=
ARGS :=

# What `make bench` passes on.
BENCH_ARGS :=

.NOTPARALLEL:
.PHONY: help run test conformance lint bench soak clean check-run check-test servers

help:
	@echo "make run     start three servers and the proxy before them; Ctrl-C ends them all"
	@echo "             (make run SERVER=redis-server takes the one on the PATH;"
	@echo "             ARGS=... are further arguments of \`overlord demo\`)"
	@echo "make test    all tests but the long ones"
	@echo "make conformance  the test suites of client libraries against the proxy, whole"
	@echo "make lint    formatting, lint, types, documents"
	@echo "make bench   cost and speed beside nutcracker (BENCH_ARGS=... are passed on)"
	@echo "make soak    every test on every Python, the long runs included"
	@echo "make clean   delete all that was built or set up here"

run: check-run $(VENV)/demo.stamp
	@exec $(VENV)/bin/overlord demo $(if $(SERVER),--server "$(SERVER)") $(ARGS)

test: check-test servers $(TOX_VENV)/tox.stamp
	@$(TOX) -e $(PY),$(PY)-compiled,integration

conformance: check-test $(TOX_VENV)/tox.stamp
	@tests/prepare_servers conformance
	@$(TOX) -e conformance -- -m "soak or not soak" tests/conformance

lint: check-test $(TOX_VENV)/tox.stamp
	@$(TOX) -e lint,types,docs

bench: check-test servers $(VENV)/bench.stamp
	@PATH="$$PATH:/usr/sbin" exec $(VENV)/bin/python -m bench $(BENCH_ARGS)

soak: check-test $(TOX_VENV)/tox.stamp
	@tests/prepare_servers soak
	@PATH="$(PYENV_PATH)$$PATH" $(TOX) -e py311,py311-compiled,py312,py312-compiled,py313,py313-compiled,soak,fuzz

clean:
	rm -rf $(VENV) $(TOX_VENV) .tox build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find overlord twisted tests bench \( -name '*.so' -o -name '*.c' -o -name dropin.cache \) -delete
	find overlord twisted tests bench -name __pycache__ -prune -exec rm -rf {} +

check-run check-test:
	@.ci/check-machine $(@:check-%=%) "$(PYTHON)"

servers:
	@tests/prepare_servers

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(SOURCES) | $(VENV)/bin/python
	@echo "installing overlord into $(VENV) (about a minute)"
	@$(VENV)/bin/python $(PIP_INSTALL) --upgrade '.[demo]'
	@touch $@

$(VENV)/bench.stamp: $(SOURCES) | $(VENV)/bin/python
	@echo "installing overlord into $(VENV) (about a minute)"
	@$(VENV)/bin/python $(PIP_INSTALL) --upgrade '.[demo,test,servers]'
	@touch $@ $(VENV)/demo.stamp

$(TOX_VENV)/tox.stamp:
	@$(PYTHON) -m venv $(TOX_VENV)
	@$(TOX_VENV)/bin/python $(PIP_INSTALL) 'tox>=4.23'
	@touch $@
