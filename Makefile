# Two commands for everyday use; each installs what it needs:
#   make run     a gateway with an embedded Redis, and a session key for it
#   make test    formatting, lint, types, import order, docs, all tests; coverage if CI is set
# More: make help. With another Python, in its own environment: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,build/$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP_INSTALL := pip install --quiet --disable-pip-version-check
# Tests use a part of what they install, and Python compiles it at its first import.
PIP_INSTALL_FOR_TESTS := $(PIP_INSTALL) --no-compile
# Twisted finds the plugin of a checkout through the import path.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
# Keep bytecode; otherwise each program that a test starts would compile the package again.
export PYTHONDONTWRITEBYTECODE :=

# Environments that hold OpenTera's own package.
OPENTERA := build/opentera$(if $(filter .venv,$(VENV)),,-$(notdir $(VENV)))
export OPENTERA_ENVIRONMENTS := $(CURDIR)/$(OPENTERA)
# Two more than the number of processors, because tests often wait for programs.
AT_ONCE ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
PYTEST_AT_ONCE := pytest --numprocesses $(AT_ONCE) --maxprocesses 8 --dist loadgroup

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

$(VENV)/.run: setup.cfg
	@test -x $(BIN)/python || { echo "Making an environment in $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what the bus needs into $(VENV); the first time, this takes a minute ..."
	@$(BIN)/python -m $(PIP_INSTALL) -e '.[embedded,admin,cli]'
	@echo "Installed."
	@touch $@

$(VENV)/.dev: setup.cfg $(VENV)/.run
	@echo "Installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m $(PIP_INSTALL_FOR_TESTS) -e '.[embedded,admin,blocking,cli,dev]'
	@touch $@

.PHONY: run
run: $(VENV)/.run  ## Start a gateway on an embedded Redis; print where to connect and a key.
	@echo "Starting a gateway; its log follows ..."
	@$(BIN)/python examples/try_it.py & exec $(BIN)/twistd --nodaemon --pidfile= opentera-bus

.PHONY: cluster
cluster: $(VENV)/.run  ## Run a Redis Cluster of three primaries and three replicas; print its URL.
	@$(BIN)/python -m tools.cluster

.PHONY: lint
lint: $(VENV)/.dev  ## Check formatting, lint, types, import order and language.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_language.py

.PHONY: test
test: $(VENV)/.dev  ## Run all checks: lint, types, import order, docs, tests; with CI=1 coverage too.
	@mkdir -p build
	@$(MAKE) --jobs 2 test-here test-aside; status=$$?; docs=$$(cat build/docs.status || echo 1); \
	    test "$$docs" = 0 || { echo "The end of build/docs.log:"; tail -n 8 build/docs.log; }; \
	    exit $$((status ? status : docs))
	@if test -e $(OPENTERA)/.made; then $(MAKE) test-opentera; else \
	    echo "Left out: the tests with OpenTera's own package, whose environments could not be made (see"; \
	    echo "build/opentera.log). With access to a package index, make test-opentera makes and runs them."; fi

.PHONY: test-here
test-here: lint
	@$(MAKE) $(if $(filter-out 0 false,$(CI)),coverage,test-alone)

.PHONY: test-alone
test-alone: $(VENV)/.dev
	$(BIN)/python -m $(PYTEST_AT_ONCE)

# Separate, because the measurement lengthens the tests by a quarter.
.PHONY: coverage
coverage: $(VENV)/.dev  ## Run all tests and measure their coverage, as CI does; below 90 % is an error.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST_AT_ONCE)
	-@$(BIN)/coverage combine --quiet 2>/dev/null; rm -f .coverage.*  # a killed program leaves half a file
	$(BIN)/coverage report

# One process builds the interface, and an installation waits for downloads, so both run beside lint
# and tests. Of the output only the end of a failure follows theirs, because the names of failed tests
# must stay in sight.
.PHONY: test-aside
test-aside:
	@$(MAKE) docs >build/docs.log 2>&1; echo $$? >build/docs.status
	@$(MAKE) $(OPENTERA)/.made >build/opentera.log 2>&1 || true

# One environment with OpenTera as published; one with OpenTera moved to this package.
$(OPENTERA)/.made: tests/opentera_package/package.txt tests/opentera_package/pins.txt | $(VENV)/.dev
	@rm -rf $(OPENTERA)
	@echo "Installing OpenTera into $(OPENTERA) ..."
	@$(PYTHON) -m venv $(OPENTERA)/theirs
	@$(PYTHON) -m venv $(OPENTERA)/moved
	@$(OPENTERA)/theirs/bin/python -m $(PIP_INSTALL_FOR_TESTS) --no-deps \
	    -r tests/opentera_package/package.txt -r tests/opentera_package/pins.txt
	@$(OPENTERA)/moved/bin/python -m $(PIP_INSTALL_FOR_TESTS) --no-deps \
	    -r tests/opentera_package/package.txt
	@$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
	    >$$($(OPENTERA)/moved/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth
	@touch $@

.PHONY: test-opentera
test-opentera: $(VENV)/.dev $(OPENTERA)/.made  ## Test OpenTera's own package, beside this one and moved to it.
	$(BIN)/python -m $(PYTEST_AT_ONCE) tests/opentera_package

.PHONY: docs
docs: $(VENV)/.dev build/docs/api/index.html  ## Build the documentation into build/docs; a warning is an error.
	$(BIN)/sphinx-build -W --keep-going --quiet --jobs auto -d build/doctrees docs build/docs

# Build the interface from the docstrings, only after they change: it takes longest.
build/docs/api/index.html: $(shell find opentera_twisted -name '*.py') | $(VENV)/.dev
	@mkdir -p build/docs
	$(BIN)/pydoctor -W --quiet --docformat google --project-name opentera-twisted --project-base-dir . \
		--privacy 'HIDDEN:opentera_twisted.messages.*_pb2' --privacy 'HIDDEN:opentera_twisted.cli' \
		--privacy 'HIDDEN:**.opt_*' --html-output build/docs/api opentera_twisted
	@touch $@

.PHONY: reference
reference: $(VENV)/.dev  ## Write the options, commands and metrics of the code into docs.
	$(BIN)/python -m tools.generate_reference docs/reference

NODE_CLIENTS := build/clients

$(NODE_CLIENTS)/.node: tests/clients/package.json
	@command -v node >/dev/null && command -v npm >/dev/null || { \
	    echo "make test-clients needs node 20.18 or later, and npm, for the clients ws and undici:"; \
	    echo "see https://nodejs.org/en/download, or apt-get install nodejs npm where that is new enough."; \
	    exit 1; }
	@mkdir -p $(NODE_CLIENTS)
	@cp $< $(NODE_CLIENTS)
	@npm install --silent --no-audit --no-fund --prefix $(NODE_CLIENTS)
	@touch $@

.PHONY: test-clients
test-clients: $(VENV)/.dev $(NODE_CLIENTS)/.node  ## Test the gateway with websocket clients of other projects, node included.
	OPENTERA_BUS_NODE_CLIENTS=$(CURDIR)/$(NODE_CLIENTS) $(BIN)/python -m pytest tests/clients

.PHONY: faults
faults: $(VENV)/.dev  ## Break Redis, clusters and the network in every way; write the tables into docs; ONLY=cluster limits it.
	FAULTS=1 FAULT_TABLE=docs/explanation/faults.md $(BIN)/python -m pytest tests/faults $(if $(ONLY),-k $(ONLY))

# Seconds; each round breaks things at different moments.
SOAK ?= 3600
# Its tests take up to half an hour; a test that hangs does not end.
LONG_TESTS := -o faulthandler_timeout=0 -o hang_limit=3600

.PHONY: soak
soak: $(VENV)/.dev  ## Try 2,000 examples of each property, make 10,000 returns, and repeat faults and storms for an hour (SOAK=seconds); stop at the first failure.
	EXAMPLES=2000 $(BIN)/python -m $(PYTEST_AT_ONCE) --quiet $(LONG_TESTS) -m hypothesis
	RETURNS=10000 $(BIN)/python -m pytest --quiet $(LONG_TESTS) tests/gateway/recovery/test_model.py
	CLIENTS=1000 $(BIN)/python -m pytest --quiet $(LONG_TESTS) tests/gateway/recovery/test_programs.py -k rolling
	@end=$$(($$(date +%s) + $(SOAK))); while [ $$(date +%s) -lt $$end ]; do \
		FAULTS=1 LOGINS=2000 $(BIN)/python -m pytest --quiet tests/faults tests/program/test_storms.py || exit 1; done

.PHONY: endurance
endurance: $(VENV)/.bench  ## Run a gateway, a service and clients for an hour (SOAK=seconds) while Redis and connections break; write the picture of their memory into docs.
	$(BIN)/python -m tests.endurance --seconds $(SOAK) --picture docs/images/endurance.svg

.PHONY: attack
attack: $(VENV)/.dev  ## Attack a gateway from both sides, for minutes; SEED=n repeats a run, ONLY=part limits it.
	$(BIN)/python -m tests.attack $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS)) $(if $(ONLY),--only $(ONLY))

.PHONY: conformance
conformance: $(VENV)/.dev  ## Test each rule of RFC 6455 on the gateway; write the table into docs.
	CONFORMANCE_TABLE=docs/reference/conformance.md $(BIN)/python -m pytest tests/conformance

.PHONY: protobufs
protobufs: $(VENV)/.dev  ## Test messages under each supported major version of protobuf.
	$(BIN)/python -m tools.protobuf_versions

$(VENV)/.package: $(VENV)/.dev
	@$(BIN)/python -m $(PIP_INSTALL) build check-wheel-contents twine
	@touch $@

.PHONY: package
package: export PYTHONPATH :=
package: $(VENV)/.package  ## Build wheel and sdist into dist/; test them in fresh environments.
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist
	$(BIN)/python -m $(PYTEST_AT_ONCE) tests/package

OLDEST := build/oldest

$(OLDEST)/.dev: setup.cfg tools/oldest.py
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tools/oldest.py setup.cfg > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m $(PIP_INSTALL_FOR_TESTS) \
	    --constraint $(OLDEST)/constraints.txt -e '.[embedded,admin,blocking,cli,dev]'
	@touch $@

.PHONY: test-oldest
test-oldest: $(OLDEST)/.dev  ## Run all tests on the oldest allowed dependencies.
	$(OLDEST)/bin/python -m $(PYTEST_AT_ONCE)

.PHONY: format
format: $(VENV)/.dev  ## Format the code; apply the fixes of lint.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.bench: setup.cfg $(VENV)/.dev
	@echo "Installing what the benchmarks need into $(VENV) ..."
	@$(BIN)/python -m $(PIP_INSTALL) -e '.[embedded,admin,cli,dev,bench]'
	@touch $@

.PHONY: bench
bench: $(VENV)/.bench  ## Measure everything beside its rivals; write build/bench: less than half an hour.
	$(BIN)/python -m benchmarks --json build/bench/results.json --plots build/bench

.PHONY: bench-quick
bench-quick: $(VENV)/.bench  ## Run make bench with a tenth of the work and few rivals: a minute or two.
	$(BIN)/python -m benchmarks --quick

.PHONY: bench-docs
bench-docs: $(VENV)/.dev  ## Write the figures of the last make bench into docs.
	$(BIN)/python -m benchmarks.document build/bench/results.json

.PHONY: screenshots
screenshots: $(VENV)/.dev  ## Take the pictures of README and docs (needs Chromium): three minutes.
	$(BIN)/python -m tools.screenshots docs/images

.PHONY: messages
messages: $(VENV)/.dev  ## Generate the message modules from the .proto files.
	$(BIN)/python tools/compile_protos.py opentera_twisted/messages

.PHONY: changelog
changelog: $(VENV)/.dev  ## Show the changelog of the news fragments.
	$(BIN)/towncrier build --draft

.PHONY: clean
clean:  ## Remove the output of all targets.
	rm -rf $(VENV) build dist benchmarks/.rivals twisted/plugins/dropin.cache *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
