# make demo   set up, build, and see it answer questions from a sample knowledge base
# make test   set up, build, and run every test
# make build  set up and build: leaves .venv/bin/taesr
# make app    the demo's collection in the browser
# make lint   formatting and types
# make sanitize  tests of collections and their indexes, damaged files, readers beside a writer: under sanitizers
# make clean  remove what was built (the environment stays); make distclean removes both
#
# On Debian and Ubuntu missing system packages are installed; elsewhere see third_party/README.md.

PYTHON ?= python3
JOBS ?= $(shell nproc)
VENV := .venv
BIN := $(VENV)/bin
BUILD := build/release
DEMO := demo-kb
SOURCES := $(shell find CMakeLists.txt pyproject.toml LICENSE README.md include src python third_party -type f -not -name '*.pyc')

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.PHONY: demo test build app lint sanitize clean distclean
.DEFAULT_GOAL := build

demo: build
	$(BIN)/python -m taesr.samples.demo $(DEMO)

app: demo
	$(BIN)/taesr app --collection $(DEMO)

build: $(VENV)/.built

test: $(VENV)/.tests-built
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)
	$(BIN)/python -m pytest

lint: $(VENV)/.test-tools
	$(BIN)/ruff check python tests benchmarks
	$(BIN)/ruff format --check python tests benchmarks
	$(BIN)/mypy

SANITIZED := store index compression collection retrieval

# Limits make of a damaged length an error instead of a machine without memory.
sanitize: export ASAN_OPTIONS = max_allocation_size_mb=4096
sanitize: export UBSAN_OPTIONS = print_stacktrace=1
sanitize: export TSAN_OPTIONS = detect_deadlocks=0
sanitize: $(VENV)/.test-tools
	cmake --preset asan -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
	cmake --build --preset asan --target $(SANITIZED:%=test_%)
	for area in $(SANITIZED); do build/asan/tests/cpp/test_$$area --gtest_brief=1 || exit 1; done
	$(BIN)/python benchmarks/reliability.py --build build/asan --only damaged-files
	cmake --preset tsan -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
	cmake --build --preset tsan --target test_collection
	$(BIN)/python benchmarks/reliability.py --build build/tsan --only readers

# Each stamp stands for one finished step, so that a second run does nothing.
$(VENV)/.system: third_party/debian-packages.txt
	@if command -v apt-get >/dev/null; then third_party/install-debian-packages.sh $<; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.packages: pyproject.toml third_party/python_requirements.py | $(VENV)/.system
	$(BIN)/python third_party/python_requirements.py build runtime app eval | $(BIN)/pip install -q -r /dev/stdin
	@touch $@

$(VENV)/.built: $(SOURCES) $(VENV)/.packages
	$(BIN)/pip install -q --no-build-isolation --no-deps \
	  --config-settings=build-dir=$(BUILD) --config-settings=cmake.define.TAESR_WERROR=ON .
	@touch $@

$(VENV)/.test-tools: pyproject.toml third_party/debian-packages-test.txt $(VENV)/.packages
	@if command -v apt-get >/dev/null; then third_party/install-debian-packages.sh third_party/debian-packages-test.txt; fi
	$(BIN)/python third_party/python_requirements.py dev chroma langchain milvus qdrant | $(BIN)/pip install -q -r /dev/stdin
	@touch $@

$(VENV)/.tests-built: $(VENV)/.built $(VENV)/.test-tools $(shell find tests/cpp -type f)
	cmake -S . -B $(BUILD) -DTAESR_BUILD_TESTS=ON > $(BUILD)/configure-tests.log || { cat $(BUILD)/configure-tests.log; exit 1; }
	cmake --build $(BUILD)
	@touch $@

clean:
	rm -rf build $(DEMO) $(VENV)/.built $(VENV)/.tests-built

distclean: clean
	rm -rf $(VENV)
