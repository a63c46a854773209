"""The engine itself: what it says of a model it has never seen the weights of."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, EngineVersion, MemoryQuestion, MemoryReport, QuantizePlan
from quantize.architecture import Architecture
from quantize.skeleton import write_skeleton

pytestmark = pytest.mark.engine

Q4_K_M = 15  # llama_ftype
IQ2_XXS = 19

TINY = Architecture(
    name="llama",
    n_layer=2,
    n_embd=512,
    n_ff=1024,
    n_head=8,
    n_head_kv=2,
    head_dim=64,
    n_vocab=1000,
    context_length=4096,
)


@pytest.fixture(scope="module")
def engine():
    pytest.importorskip("llama_cpp")
    with Engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skeleton") / "tiny.gguf"
    write_skeleton(TINY, path)
    return path


def test_the_engine_says_which_one_it_is(engine: Engine) -> None:
    version = engine.version()
    assert isinstance(version, EngineVersion)
    assert version.package.count(".") == 2


def test_a_dry_run_gives_every_tensor_its_type_and_exact_bytes(engine: Engine, tiny: Path) -> None:
    plan = engine.quantize_dry_run(tiny, Q4_K_M)
    assert isinstance(plan, QuantizePlan)
    found = {tensor.name: (tensor.type, tensor.bytes) for tensor in plan.tensors}
    assert found["output.weight"] == ("q6_K", 1000 * 512 // 256 * 210)
    assert found["blk.0.ffn_gate.weight"] == ("q4_K", 1024 * 512 // 256 * 144)
    assert found["blk.1.attn_norm.weight"] == ("f32", 512 * 4)
    assert len(found) == 2 * 9 + 3


def test_an_importance_matrix_changes_the_mixture_where_the_engine_says_so(
    engine: Engine, tiny: Path
) -> None:
    iq3_xxs = 23
    without = engine.quantize_dry_run(tiny, iq3_xxs)
    with_one = engine.quantize_dry_run(tiny, iq3_xxs, imatrix=True)
    assert isinstance(without, QuantizePlan)
    assert isinstance(with_one, QuantizePlan)
    assert sum(t.bytes for t in with_one.tensors) < sum(t.bytes for t in without.tensors)


def test_a_file_that_is_no_model_is_refused_and_the_engine_lives_on(
    engine: Engine, tiny: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    reply = engine.quantize_dry_run(broken, Q4_K_M)
    assert isinstance(reply, EngineFailure)
    assert reply.kind == "refused"
    assert str(broken) in reply.message
    assert reply.last_words
    assert isinstance(engine.quantize_dry_run(tiny, Q4_K_M), QuantizePlan)


def test_the_memory_of_a_context_is_reported_without_taking_it(engine: Engine, tiny: Path) -> None:
    report = engine.memory(MemoryQuestion(str(tiny), n_ctx=4096))
    assert isinstance(report, MemoryReport)
    (cache,) = report.caches
    assert (cache.cells, cache.layers) == (4096, 2)
    assert report.kv_cache_bytes == 2 * 2 * 4096 * 2 * 64 * 2  # K and V, layers, cells, KV heads, head, F16
    assert report.state_bytes == 0
    assert report.compute_bytes > 512 * 1000 * 4  # the logits of a micro-batch


def test_a_cache_the_model_cannot_have_is_refused_with_the_engines_reason(engine: Engine, tiny: Path) -> None:
    q4_k = 12  # blocks of 256 weights do not fit heads of 64
    reply = engine.memory(MemoryQuestion(str(tiny), n_ctx=512, type_k=q4_k))
    assert isinstance(reply, EngineFailure)
    assert "K cache type q4_K" in reply.last_words
