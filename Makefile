# Everything sets itself up: a virtual environment from the pinned versions, nothing else is touched.
PYTHON ?= $(shell scripts/find-python)
VENV := .venv
BIN := $(VENV)/bin
PROGRAM := $(VENV)/.program
STAMP := $(VENV)/.installed
SERVICES := tests/service tests/proxy tests/agents tests/attacks tests/store tests/net tests/audit tests/gitops tests/fuzz \
	tests/auth tests/kubernetes tests/test_hooks.py tests/test_ci_examples.py
UNIT := tests --ignore tests/e2e --ignore tests/networks $(SERVICES:%=--ignore %) -q -n 3 --dist worksteal
# What `make faults` runs; for example FAULTS='--rounds 10 --seed 7'.
FAULTS ?= --rounds 100
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# Compatible: a path instead of an import hook, which every start of a program would load.
EDITABLE := --config-settings editable_mode=compat -e

.PHONY: demo demo-trust test unit services e2e test-networks soak test-kubernetes plain-hosts coverage fuzz faults limits
.PHONY: lint fmt generate bench clean

$(PROGRAM): pyproject.toml constraints.txt bin/tsh
	scripts/make-venv "$(PYTHON)" $(VENV)
	$(PIP) $(EDITABLE) .
	touch $@

$(STAMP): $(PROGRAM)
	$(PIP) $(EDITABLE) '.[dev]'
	touch $@

SSHD_OWN = find_the_variables or greets_unless or harmless_variables or does_not_exist_on_the_host \
	or sockets_of_others or listens_on_the_host_is or privileged_port or agent_is_forwarded_through \
	or display_is_forwarded or died_has_an_end or ignore_the_end

demo: $(PROGRAM)
	$(BIN)/python scripts/demo.py

demo-trust: $(PROGRAM)
	$(BIN)/python scripts/demo_trust.py

test: $(STAMP) lint
	scripts/install-test-programs
	$(BIN)/pytest $(UNIT)
	$(BIN)/pytest $(SERVICES) -q -n 3 --dist worksteal
	$(BIN)/pytest tests/e2e tests/networks -q -n 3 --dist loadfile

# The operator with all counts and delays in full; against the real cluster that KUBECONFIG names, if it names one. Its
# namespace `teleport` and the definitions are made by the tests, and deleted by them.
test-kubernetes: $(STAMP)
	TELEPORT_FULL=1 TELEPORT_TEST_KUBECONFIG="$(KUBECONFIG)" $(BIN)/pytest tests/kubernetes tests/e2e/test_operator.py -q -s -rs

unit: $(STAMP)
	$(BIN)/pytest $(UNIT)

services: $(STAMP)
	$(BIN)/pytest $(SERVICES) -q -n 3 --dist worksteal

e2e: $(STAMP)
	$(BIN)/pytest tests/e2e tests/networks -q -n 3 --dist loadfile

# Which lines no test runs; measuring it nearly doubles the time of the tests, so it is for whoever asks.
coverage: $(STAMP)
	scripts/install-test-programs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(UNIT)
	$(BIN)/coverage run -m pytest $(SERVICES) -q -n 3 --dist worksteal
	$(BIN)/coverage run -m pytest tests/e2e tests/networks -q -n 3 --dist loadfile
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

fuzz: $(STAMP)
	$(PIP) $(EDITABLE) '.[fuzz]'
	nice $(BIN)/python -m tests.fuzz

faults: $(STAMP)
	scripts/install-test-programs
	$(BIN)/python -m tests.faults.campaign $(FAULTS)

# Devices behind NAT, on networks that lose, delay, cut and change: several minutes, as root.
test-networks: $(STAMP)
	scripts/install-test-programs
	TELEPORT_NETWORKS=1 $(BIN)/pytest -q --durations=20 tests/networks

# Two organisations under cuts, kills and withdrawals, for ten minutes, as root; for example SOAK=300.
SOAK ?= 600
soak: $(STAMP)
	scripts/install-test-programs
	TELEPORT_SOAK=$(SOAK) $(BIN)/pytest -q -s tests/networks/test_soak.py

# The tests of hosts with agents, on one with only Debian's sshd; without those about what sshd does in its own way.
plain-hosts: $(STAMP)
	TELEPORT_TEST_PLAIN_HOST=1 $(BIN)/pytest -q tests/e2e/test_plain_hosts.py tests/e2e/test_openssh.py tests/e2e/test_ssh.py \
		tests/e2e/test_files.py tests/e2e/test_forwarding.py tests/e2e/test_watching.py -k "not ($(SSHD_OWN))"

limits: $(STAMP)
	TELEPORT_FULL=1 $(BIN)/pytest -q -s tests/net/test_idle_pairs.py tests/e2e/test_same_moment.py tests/e2e/test_limits.py \
		tests/e2e/test_from_git.py tests/access/test_prove_oracle.py

lint: $(STAMP)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/mypy operator/handlers.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m teleport.resources.render --check
	$(BIN)/python -m teleport.audit.render --check
	$(BIN)/python -m teleport.service.render --check

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(STAMP)
	$(BIN)/python -m teleport.resources.render
	$(BIN)/python -m teleport.audit.render
	$(BIN)/python -m teleport.service.render

bench: $(STAMP)
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) .demo .fuzz build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
