"""Every architecture of the catalog, against what its maker publishes and against the engine.

`data/published-parameters.csv` holds the number of parameters stored on the Hub (PyPI llmfit 1.1.17, from
safetensors metadata), less what the GGUF of the text model does not hold; `what` says what that is.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from advisor.catalog import Model, load_catalog
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, MemoryQuestion
from quantize.architecture import (
    Architecture,
    from_gguf_metadata,
    gguf_metadata,
    layers,
    parameter_count,
    tensors,
)
from quantize.architectures.plans import PLANS
from quantize.gguf_header import read_header
from quantize.skeleton import write_skeleton

PUBLISHED = Path(__file__).with_name("data") / "published-parameters.csv"
# What only some publishers count: it balances experts in training, or scales a block.
BUFFERS = ("exp_probs_b.bias", "layer_output_scale.weight")
# The stored count is not the model's: MiniCPM3-4B's card says 4 billion, as its dimensions do.
KNOWN_TO_DIFFER = {"openbmb/MiniCPM3-4B"}


def models() -> list[Model]:
    return [model for model in load_catalog().models if model.architecture is not None]


def distinct() -> list[Architecture]:
    """One of each architecture with different dimensions, the smallest of each name first."""
    found = {
        model.architecture: parameter_count(model.architecture) for model in models() if model.architecture
    }
    return sorted(found, key=lambda arch: found[arch])


def published() -> dict[str, tuple[int, bool]]:
    with PUBLISHED.open(newline="") as file:
        return {
            row["model"]: (int(row["parameters"]), row["rounded"] == "yes") for row in csv.DictReader(file)
        }


def test_parameters_are_exactly_those_that_are_published() -> None:
    counts = published()
    wrong = []
    for model in models():
        assert model.architecture is not None
        if model.id not in counts or model.id in KNOWN_TO_DIFFER:
            continue
        stored, rounded = counts[model.id]
        ours = parameter_count(model.architecture)
        buffers = sum(t.n_elements for t in tensors(model.architecture) if t.name.endswith(BUFFERS))
        if not (stored in (ours, ours + buffers) or (rounded and abs(ours / stored - 1) < 0.005)):
            wrong.append(f"{model.id}: {ours:,}, published {stored:,}")
    assert not wrong


def test_nearly_every_model_of_the_catalog_is_checked() -> None:
    counts = published()
    checked = [model for model in models() if model.id in counts]
    assert len(checked) >= 250
    assert len(checked) >= 0.9 * len(load_catalog().models)


def test_a_model_that_llama_cpp_cannot_run_says_why() -> None:
    for model in load_catalog().models:
        assert (model.architecture is None) == (model.unsupported is not None), model.id


def test_the_catalog_has_a_model_of_nearly_every_architecture_described() -> None:
    """What no model uses is not tested, and so does not stay."""
    assert {model.architecture.name for model in models() if model.architecture} == PLANS.keys()


def test_a_file_of_each_architecture_is_recognized(tmp_path: Path) -> None:
    for arch in distinct():
        path = tmp_path / "model.gguf"
        write_skeleton(arch, path)
        header = read_header(path)
        found = from_gguf_metadata(header.metadata, header.shapes)
        assert tensors(found) == tensors(arch), arch
        assert layers(found) == layers(arch), arch
        assert gguf_metadata(found) == gguf_metadata(arch), arch


@pytest.mark.engine
def test_the_engine_loads_each_architecture_and_keeps_the_cache_that_its_layers_say(tmp_path: Path) -> None:
    """Of each architecture the smallest model: names, shapes and metadata are what llama.cpp asks for."""
    pytest.importorskip("llama_cpp")
    smallest: dict[str, Architecture] = {}
    for arch in distinct():
        smallest.setdefault(arch.name, arch)
    failed = []
    with Engine() as engine:
        for arch in smallest.values():
            path = tmp_path / "model.gguf"
            write_skeleton(arch, path)
            report = engine.memory(MemoryQuestion(str(path), n_ctx=4096))
            if isinstance(report, EngineFailure):
                failed.append(f"{arch.name}: {report.message}\n{report.last_words}")
                continue
            # The engine prints mebibytes with two decimals, for K and V of up to two caches.
            if abs(report.kv_cache_bytes - cache_bytes(arch)) > 4 * 5_243:
                failed.append(f"{arch.name}: cache of {report.kv_cache_bytes}, not {cache_bytes(arch)}")
            if abs(report.state_bytes - state_bytes(arch)) > 2 * 5_243:
                failed.append(f"{arch.name}: state of {report.state_bytes}, not {state_bytes(arch)}")
    assert not failed


def cache_bytes(arch: Architecture) -> int:
    """F16, 4096 tokens; a window takes as many cells as it has tokens and a micro-batch of 512 more."""
    total = 0
    for layer in layers(arch):
        cells = 4096 if layer.window is None else min(4096, -(-(layer.window + 512) // 256) * 256)
        if not layer.shares_kv:
            total += 2 * cells * layer.n_head_kv * (layer.head_dim_k + layer.head_dim_v)
    return total


def state_bytes(arch: Architecture) -> int:
    return sum(4 * (layer.conv_state + layer.recurrent_state) for layer in layers(arch))
