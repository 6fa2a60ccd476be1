# The commands a newcomer needs; each does the set-up that it needs by itself.
BIN := .venv/bin
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Long tests take a part of their cases in a plain run; the same seed takes the same part.
SEED := $(or $(SEED),$(shell date +%s))
export SEED

help:
	@echo "make setup   the tools and .venv; the others do it by themselves"
	@echo "make demo    the reference load balancer in a lab on this machine, proved by traffic"
	@echo "make test    every test; ARGS='-k spec' for some"
	@echo "make test-pythons  the tests of what runs on hosts, under every Python here; ARGS=3.9 for one"
	@echo "make doctor-matrix   every fault of the lab, named by doctor; some minutes"
	@echo "make ovn     the whole of it with real ML2/OVN between the lab's hosts, two minutes"
	@echo "make lint    ruff, mypy, and the hosts' Python 3.9"
	@echo "make bench   what it costs, measured in one run"
	@echo "make soak    a daemon under load while something breaks every few seconds; SECONDS=180 SEED=N"
	@echo "make fuzz    arbitrary bytes for what reads foreign ones; SECONDS=60 TARGETS='netlink spec' SEED=N"
	@echo "make package the wheel, the sdist and the node file, in dist"
	@echo "make docs    the generated parts of docs/reference"

setup:
	@scripts/setup

demo: setup
	@scripts/demo

test:
	@scripts/setup test
	$(BIN)/pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder --reruns=3 -rR $(ARGS)

test-pythons: setup
	@scripts/test-pythons $(ARGS)

doctor-matrix: setup
	ALL=1 $(BIN)/pytest --numprocesses=3 --dist=load --reruns=2 \
	    tests/lab/test_doctor.py tests/lab/test_doctor_healthy.py tests/lab/test_faults.py $(ARGS)

ovn:
	@scripts/setup ovn
	$(BIN)/pytest tests/slow/test_ovn.py --reruns=2 $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/vermin --quiet --no-tips --violations --target=3.9- $$($(BIN)/python tests/layers.py)
	@if [ -e scripts/docs ]; then $(BIN)/python scripts/docs --check; fi

bench:
	@scripts/setup bench
	$(BIN)/python scripts/bench $(ARGS)

soak: setup
	@$(BIN)/python scripts/soak

fuzz:
	@scripts/setup fuzz
	@$(BIN)/python scripts/fuzz

# The same commit gives the same bytes.
package: setup
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/onearm node -o dist/onearm-node.pyz
	cd dist && sha256sum -- * > SHA256SUMS

docs: setup
	@if [ -e scripts/docs ]; then $(BIN)/python scripts/docs; fi
	$(BIN)/pytest tests/test_spec_published.py

.PHONY: help setup demo test test-pythons doctor-matrix ovn lint bench soak fuzz package docs
