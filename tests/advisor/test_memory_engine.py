"""Memory estimates against the engine, which reports what it would allocate and allocates nothing.

Cache and state are compared as the engine prints them, to 0.01 MiB; the compute buffer within 5%.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from advisor.catalog import load_catalog
from advisor.memory import compute_buffer_bytes, kv_cache_bytes, kv_type_problem, state_bytes
from profiles.engine.client import Engine
from profiles.engine.protocol import MemoryQuestion, MemoryReport
from quantize.architecture import Architecture
from quantize.skeleton import write_skeleton
from quantize.types import TENSOR_TYPES

pytestmark = pytest.mark.engine

# One of each kind: grouped heads, large vocabulary, fused projections, no gate, windows, heads of 80, shared
# caches, alternating windows, experts, latent attention, short convolutions, Mamba 2, delta-nets, both in a block.
MODELS = (
    "Llama-3.2-1B",
    "Qwen2.5-7B-Instruct",
    "Phi-3.5-mini-instruct",
    "pythia-1.4b",
    "gemma-3-4b-it",
    "phi-2",
    "gemma-3n-E2B-it",
    "gpt-oss-20b",
    "Qwen3-30B-A3B",
    "DeepSeek-V2-Lite-Chat",
    "LFM2-1.2B",
    "granite-4.0-h-micro",
    "Qwen3.5-2B",
    "Falcon-H1-0.5B-Instruct",
    "OLMo-2-1124-7B-Instruct",
    "SmolLM2-135M-Instruct",
)
CONTEXTS = (2048, 5000, 16384)  # 5000 lies between the contexts that the table holds
PRINTED = 0.01 * 1024 * 1024  # the engine's last digit, in bytes


@pytest.fixture(scope="module")
def engine():
    pytest.importorskip("llama_cpp")
    with Engine() as engine:
        yield engine


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Architecture, Path]:
    arch = load_catalog().find(request.param).architecture
    assert arch is not None
    path = tmp_path / "skeleton.gguf"
    write_skeleton(arch, path)
    return arch, path


def ask(engine: Engine, path: Path, context: int, kv_type: str, batch: int, **more: int) -> MemoryReport:
    kind = TENSOR_TYPES[kv_type.upper()].id
    report = engine.memory(MemoryQuestion(str(path), context, batch, type_k=kind, type_v=kind, **more))
    assert isinstance(report, MemoryReport), report
    return report


def test_cache_state_and_compute_buffer_are_the_engines(
    engine: Engine, model: tuple[Architecture, Path]
) -> None:
    arch, path = model
    for kv_type in ("f16", "q8_0"):
        if kv_type_problem(arch, kv_type, kv_type):
            continue
        for context in CONTEXTS:
            for batch in (128, 512):
                where = f"context {context}, {kv_type}, micro-batch {batch}"
                report = ask(engine, path, context, kv_type, batch)
                printed = 2 * len(report.caches) * PRINTED
                cache = kv_cache_bytes(arch, context, kv_type, kv_type, batch)
                assert report.kv_cache_bytes == pytest.approx(cache, abs=printed), where
                assert report.state_bytes == pytest.approx(state_bytes(arch), abs=2 * PRINTED), where
                compute = compute_buffer_bytes(arch, context, batch, kv_type, kv_type)
                assert compute == pytest.approx(report.compute_bytes, rel=0.05), where


def test_a_type_we_call_impossible_is_one_the_engine_refuses(
    engine: Engine, model: tuple[Architecture, Path]
) -> None:
    arch, path = model
    kind = TENSOR_TYPES["Q8_0"].id
    reply = engine.memory(MemoryQuestion(str(path), 2048, type_k=kind, type_v=kind))
    assert isinstance(reply, MemoryReport) == (kv_type_problem(arch, "q8_0", "q8_0") is None)


def test_sequences_side_by_side_share_the_cells_and_each_have_a_state(
    engine: Engine, model: tuple[Architecture, Path]
) -> None:
    arch, path = model
    report = ask(engine, path, 8192, "f16", 512, n_parallel=4)
    cache = kv_cache_bytes(arch, 8192, n_parallel=4)
    assert report.kv_cache_bytes == pytest.approx(cache, abs=4 * PRINTED)
    assert report.state_bytes == pytest.approx(state_bytes(arch, 4), abs=2 * PRINTED)
