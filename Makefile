# make run    start the portal (http://127.0.0.1:8800); everything it needs is installed into .venv
# make test   the whole test suite, with a list of its slowest tests
# make prove  the conformance suite on real places: this machine, Docker, Podman, and the cluster that CLAWPORTAL_TEST_KUBECONFIG names
# make lint   ruff, mypy, import-linter
# make bench  measure speed and size; writes bench/results

VENV ?= .venv
# outside of this folder: claws keep repositories of their own, and some make none inside another one
DATA ?= $(or $(CLAWPORTAL_DATA_DIR),$(if $(wildcard data/clawportal.db),data,$(HOME)/.local/share/clawportal))
PORT ?= $(or $(CLAWPORTAL_PORT),8800)
WORKERS ?= 3
PY := $(VENV)/bin/python
ARGS ?=

.PHONY: run test prove lint format bench binary docs screenshots translations lock clean

run: $(VENV)/.run
	$(VENV)/bin/clawportal --data-dir "$(DATA)" serve --port $(PORT)

test: $(VENV)/.dev
	.ci/binutils $(VENV)
	.ci/browser
	.ci/nginx
	.ci/redis
	.ci/docker
	.ci/podman
	$(PY) -m pytest -p tests.slowest -n $(WORKERS) --dist loadgroup $(ARGS)

# what is long, and outside: the conformance suite on every real place there is. Commit docs/conformance.json with its dates
prove: $(VENV)/.dev
	.ci/docker
	.ci/podman
	$(PY) -m pytest -p clawportal.testing.report --conformance-report docs/conformance.json \
		tests/runtimes/test_conformance_process.py tests/docker/test_conformance_docker.py tests/docker/test_podman.py \
		$(if $(CLAWPORTAL_TEST_KUBECONFIG),tests/kubernetes/test_conformance_kubernetes.py) $(ARGS)
	$(PY) docs/generate.py

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.dev
	$(PY) -m bench $(ARGS)

# the portal as one file, in dist/
binary: $(VENV)/.dev
	.ci/binutils $(VENV)
	$(PY) deploy/binary/build.py dist

# settings, OpenAPI and other documents that are generated from the code
docs: $(VENV)/.dev
	$(PY) docs/generate.py

# the pictures of the README, from a real portal with real claws
screenshots: $(VENV)/.dev
	$(PY) docs/screenshots.py

# what people read: find it, bring the catalogues up to date; new sentences are left to translate
translations: $(VENV)/.dev
	$(PY) docs/translations.py

lock: $(VENV)/.dev
	$(VENV)/bin/pip freeze --exclude-editable > .ci/constraints.txt

$(VENV)/.run: pyproject.toml .ci/constraints.txt .ci/venv
	.ci/venv $(VENV)
	$(VENV)/bin/pip install -q -c .ci/constraints.txt -e .
	touch $@

$(VENV)/.dev: pyproject.toml .ci/constraints.txt .ci/venv
	.ci/venv $(VENV)
	$(VENV)/bin/pip install -q -c .ci/constraints.txt -e . --group dev
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
