# Set-up is part of every target: a fresh Debian 12 with git, make and Python, as root, is enough.

ready := .venv/.ready
bin := .venv/bin

.PHONY: help setup demo soak bench screenshot test test-host deb check format release clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: $(ready) ## Debian's packages, and the locked Python packages in .venv

$(ready): uv.lock pyproject.toml scripts/setup
	scripts/setup
	touch $@

demo: setup ## from the full mesh to route reflectors, before your eyes (FAST=1: without pauses; ETCD=3: keys in etcd v3; CALICO=3: nodes of Calico 3)
	$(bin)/python -m lab.demo $(if $(FAST),--fast) $(if $(ETCD),--etcd $(ETCD)) $(if $(CALICO),--calico $(CALICO))

soak: setup ## MINUTES of chaos, 20 by default, and what it does to memory and descriptors
	$(bin)/python -m lab.soak $(if $(MINUTES),--minutes $(MINUTES))

bench: setup ## how fast it is beside BIRD itself; ARGS="--sizes 100 1000 --storm 0"
	.tools/bin/uv sync -q --frozen --group bench
	$(bin)/python -m benchmarks $(ARGS)

screenshot: setup ## takes the picture of the status page that README shows
	$(bin)/python -m lab.picture

test: setup ## all tests, on a real etcd and a real BIRD
	$(bin)/pytest -n 6 --dist worksteal

test-host: deb ## the package on hosts that boot: install, first hour, upgrade, removal
	scripts/host-tree
	scripts/container-tools
	$(bin)/pytest -n 2 --dist loadfile tests/host

deb: setup ## the Debian package, in dist
	scripts/deb

check: setup ## format, lint, types, layers, version and changelog
	$(bin)/ruff format --check
	$(bin)/ruff check
	$(bin)/mypy
	$(bin)/lint-imports
	$(bin)/python -m scripts.versions

format: setup ## format the code, and mend what can be mended by itself
	$(bin)/ruff format
	$(bin)/ruff check --fix

release: setup ## sdist, wheel and .deb of the commit in dist/, checked in clean environments
	$(bin)/python -m scripts.release

clean: ## all that setup and tests made
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
