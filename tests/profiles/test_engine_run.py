"""The engine running real models: load, context, tests, memory, and blocks to make models of."""

from __future__ import annotations

import math
import statistics
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from profiles.engine.client import Engine
from profiles.engine.protocol import (
    Blocks,
    ContextOpened,
    EngineFailure,
    LoadModel,
    MemoryUsed,
    ModelLoaded,
    OpenContext,
    RunTest,
    TestTiming,
)
from profiles.throughput import require
from quantize.architecture import Architecture, StateSpace
from quantize.skeleton import write_skeleton
from quantize.types import TENSOR_TYPES

pytestmark = pytest.mark.engine

NOT_WEIGHTS = {"F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    pytest.importorskip("llama_cpp")
    with Engine(timeout_s=120) as engine:
        yield engine


def loaded(engine: Engine, path: Path, **options: object) -> ModelLoaded:
    model = engine.load_model(LoadModel(str(path), **options))
    assert isinstance(model, ModelLoaded), model
    return model


def opened(engine: Engine, n_ctx: int, **options: object) -> ContextOpened:
    context = engine.open_context(OpenContext(n_ctx, **options))
    assert isinstance(context, ContextOpened), context
    return context


def timed(engine: Engine, test: RunTest) -> TestTiming:
    timing = engine.run_test(test)
    assert isinstance(timing, TestTiming), timing
    return timing


def used(engine: Engine) -> MemoryUsed:
    memory = engine.memory_use()
    assert isinstance(memory, MemoryUsed), memory
    return memory


# --- models and contexts ------------------------------------------------------------------------------------


def test_a_loaded_model_says_what_it_is(engine: Engine, smollm2: Path) -> None:
    model = loaded(engine, smollm2)
    assert (model.architecture, model.n_layer, model.n_vocab) == ("llama", 30, 49152)
    assert (model.n_params, model.n_ctx_train) == (134_515_008, 8192)
    assert 0 < smollm2.stat().st_size - model.tensor_bytes < 3_000_000  # the rest is header and tokenizer
    assert model.description.endswith("Q4_1")
    assert model.load_s > 0


def test_a_context_says_what_it_takes(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    context = opened(engine, 1000, threads=1, threads_batch=2)
    assert context.n_ctx == 1024  # the engine rounds up
    assert context.kv_cache_bytes == 30 * 2 * 1024 * 3 * 64 * 2  # layers, K and V, cells, KV heads, head, F16
    assert context.compute_bytes["CPU"] > 512 * 49152 * 4  # logits of a micro-batch
    assert context.flash_attention
    assert (context.threads, context.threads_batch) == (1, 2)


def test_a_quantized_cache_is_smaller(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    f16 = opened(engine, 512)
    q8_0 = opened(engine, 512, type_k=8, type_v=8)
    assert q8_0.kv_cache_bytes / f16.kv_cache_bytes == pytest.approx(34 / 64, rel=0.01)
    timed(engine, RunTest(n_prompt=8, n_gen=1))


def test_the_threads_are_the_physical_cores_unless_said(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    context = opened(engine, 64)
    assert context.threads == context.threads_batch >= 1


def test_a_model_replaces_the_one_before_and_gives_its_memory_back(
    engine: Engine, smollm2: Path, gemma3_270m: Path
) -> None:
    loaded(engine, gemma3_270m, use_mmap=False)
    opened(engine, 512)
    large = used(engine)
    loaded(engine, smollm2, use_mmap=False)
    small = used(engine)
    assert small.resident_bytes < large.resident_bytes - 100 * MIB
    assert large.peak_resident_bytes >= large.resident_bytes
    refused = engine.run_test(RunTest(n_gen=1))
    assert isinstance(refused, EngineFailure)
    assert "no context is open" in refused.message


# --- tests --------------------------------------------------------------------------------------------------


def test_each_phase_is_timed_where_there_is_one(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    opened(engine, 64)
    both = timed(engine, RunTest(n_prompt=32, n_gen=4, warmup=True))
    assert both.prompt_s is not None
    assert both.gen_s is not None
    assert both.prompt_s > 0 < both.gen_s
    assert timed(engine, RunTest(n_prompt=32)).gen_s is None
    assert timed(engine, RunTest(n_gen=4)).prompt_s is None
    assert timed(engine, RunTest()) == TestTiming(None, None)


def test_a_prompt_longer_than_a_batch_goes_in_several(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    opened(engine, 128, n_batch=32, n_ubatch=16)
    assert timed(engine, RunTest(n_prompt=100, n_gen=2)).prompt_s is not None


def test_a_test_that_fills_the_context_fits_again_and_again(engine: Engine, smollm2: Path) -> None:
    """The cache is cleared between repetitions, as many of them as one likes."""
    loaded(engine, smollm2)
    size = opened(engine, 256).n_ctx
    for _ in range(2):
        timed(engine, RunTest(n_prompt=size - 130, n_gen=2, depth=128))


def test_a_test_larger_than_the_context_is_refused_with_both_numbers(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    size = opened(engine, 256).n_ctx
    refused = engine.run_test(RunTest(n_prompt=size, n_gen=1))
    assert isinstance(refused, EngineFailure)
    assert refused.kind == "refused"
    assert str(size + 1) in refused.message
    assert str(size) in refused.message


def test_the_state_of_a_depth_is_kept_for_the_next_test_and_counted(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    opened(engine, 512)
    assert used(engine).saved_state_bytes == 0
    timed(engine, RunTest(n_gen=1, depth=256))
    saved = used(engine).saved_state_bytes
    assert saved >= 30 * 2 * 256 * 3 * 64 * 2  # the cache of 256 tokens
    opened(engine, 300)  # another context of the same model
    timed(engine, RunTest(n_prompt=16, depth=256))
    assert used(engine).saved_state_bytes == saved
    timed(engine, RunTest(n_gen=1, depth=32))
    assert 0 < used(engine).saved_state_bytes < saved
    loaded(engine, smollm2)
    assert used(engine).saved_state_bytes == 0


def test_a_state_saved_with_another_kind_of_cache_is_made_anew(engine: Engine, smollm2: Path) -> None:
    loaded(engine, smollm2)
    opened(engine, 128)
    timed(engine, RunTest(n_gen=1, depth=64))
    saved = used(engine).saved_state_bytes
    opened(engine, 128, type_k=8, type_v=8)
    timed(engine, RunTest(n_gen=1, depth=64))
    assert used(engine).saved_state_bytes < saved


HYBRID = Architecture(
    name="granitehybrid",
    n_layer=4,
    n_embd=256,
    n_ff=512,
    n_head=4,
    n_head_kv=2,
    head_dim=64,
    n_vocab=1000,
    context_length=2048,
    pattern="mmma",
    ssm=StateSpace(inner=512, state=64, n_head=8, n_group=1, conv=4),
)


def test_a_recurrent_model_runs_at_depth_too(engine: Engine, tmp_path: Path) -> None:
    """Its state is no cache of tokens; and the file has no tokenizer, only a number of tokens."""
    path = tmp_path / "hybrid.gguf"
    write_skeleton(HYBRID, path)
    assert loaded(engine, path).n_vocab == 1000
    context = opened(engine, 256)
    assert context.state_bytes > 0
    for _ in range(2):
        timed(engine, RunTest(n_prompt=16, n_gen=2, depth=64))
    assert used(engine).saved_state_bytes > context.state_bytes / 2


def test_a_model_with_sliding_windows_runs_beyond_its_window(engine: Engine, gemma3_270m: Path) -> None:
    assert loaded(engine, gemma3_270m).architecture == "gemma3"
    opened(engine, 720)
    for _ in range(2):
        timed(engine, RunTest(n_prompt=64, n_gen=1, depth=640))


# --- the memory of the worker -------------------------------------------------------------------------------


def test_a_model_without_a_memory_map_takes_its_size(engine: Engine, smollm2: Path) -> None:
    engine.close()
    before = used(engine).resident_bytes
    model = loaded(engine, smollm2, use_mmap=False)
    opened(engine, 256)
    timed(engine, RunTest(n_gen=1))
    taken = used(engine).resident_bytes - before
    assert model.tensor_bytes < taken < model.tensor_bytes + 200 * MIB


# --- blocks -------------------------------------------------------------------------------------------------


def test_blocks_of_every_type_of_weights_are_made_and_have_their_size(engine: Engine) -> None:
    kinds = TENSOR_TYPES.keys() - NOT_WEIGHTS
    made = engine.sample_blocks(kinds, 7)
    assert isinstance(made, Blocks), made
    assert {name: len(data) for name, data in made.data.items()} == {
        name: 7 * TENSOR_TYPES[name].type_size for name in kinds
    }


def test_blocks_hold_weights_like_those_of_a_model(engine: Engine) -> None:
    """Drawn from N(0, 0.02²): the packed ones give them back as far as their bits go."""
    quants = pytest.importorskip("gguf.quants")
    enum = pytest.importorskip("gguf.constants").GGMLQuantizationType
    made = engine.sample_blocks(["F32", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "Q3_K"], 64)
    assert isinstance(made, Blocks), made
    weights = struct.unpack(f"{64}f", made.data["F32"])
    assert statistics.pstdev(weights) == pytest.approx(0.02, rel=0.3)
    for name in made.data.keys() - {"F32"}:
        values = quants.dequantize(np.frombuffer(made.data[name], dtype=np.uint8), enum[name])
        assert np.isfinite(values).all()
        assert math.isclose(values.std(), 0.02, rel_tol=0.1), name
        assert abs(values.mean()) < 0.002, name


def test_blocks_are_the_same_every_time(engine: Engine) -> None:
    one, other = (require(engine.sample_blocks(["Q4_0"], 5)) for _ in range(2))
    assert one.data == other.data


@pytest.mark.parametrize("kind", [*sorted(NOT_WEIGHTS), "Q9_K"])
def test_a_type_that_packs_no_weights_is_refused_by_name(engine: Engine, kind: str) -> None:
    refused = engine.sample_blocks(["Q4_0", kind], 5)
    assert isinstance(refused, EngineFailure)
    assert refused.kind == "refused"
    assert f"no blocks of {kind};" in refused.message
