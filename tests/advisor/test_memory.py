"""Memory estimates: what must hold for any deployment, and numbers worked out by hand."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import compute_buffer
from advisor.catalog import Model, Variant, load_catalog
from advisor.kv_cache import KV_TYPES
from advisor.memory import (
    MemoryEstimate,
    Settings,
    compute_buffer_bytes,
    estimate_memory,
    kv_cache_bytes,
    kv_type_problem,
    state_bytes,
)
from quantize.architecture import Architecture, LatentAttention, SlidingWindow, StateSpace

KIB, MIB = 1 << 10, 1 << 20

LLAMA_3_1_8B = Architecture(
    name="llama",
    n_layer=32,
    n_embd=4096,
    n_ff=14336,
    n_head=32,
    n_head_kv=8,
    head_dim=128,
    n_vocab=128256,
    context_length=131072,
)


@cache
def runnable() -> tuple[Model, ...]:
    return tuple(model for model in load_catalog().models if model.runnable)


@cache
def find(name: str) -> Model:
    return load_catalog().find(name)


def variant(name: str, quant: str = "Q4_K_M") -> Variant:
    return find(name).variant(quant)


def estimate(name: str, backend: str = "cpu", **settings: object) -> MemoryEstimate:
    model = find(name)
    assert model.architecture is not None
    return estimate_memory(
        model.architecture, variant(name), Settings(**({"context_length": 4096} | settings)), backend=backend
    )


# --- the cache, by hand -----------------------------------------------------------------------------------------


def test_grouped_heads_keep_their_kv_heads_only() -> None:
    per_token = 32 * 2 * 8 * 128 * 2  # blocks, keys and values, KV heads, head, F16
    assert kv_cache_bytes(LLAMA_3_1_8B, 8192) == 8192 * per_token == 1024 * MIB


def test_a_context_is_rounded_up_to_256_cells() -> None:
    assert kv_cache_bytes(LLAMA_3_1_8B, 1) == kv_cache_bytes(LLAMA_3_1_8B, 256)
    assert kv_cache_bytes(LLAMA_3_1_8B, 257) == kv_cache_bytes(LLAMA_3_1_8B, 512)


def test_a_q8_0_cache_takes_34_bytes_for_32_numbers() -> None:
    assert kv_cache_bytes(LLAMA_3_1_8B, 8192, "q8_0", "q8_0") == 1024 * MIB * 34 // 64
    assert kv_cache_bytes(LLAMA_3_1_8B, 8192, "q8_0", "f16") == (512 + 272) * MIB


def test_blocks_with_a_window_keep_the_window_and_a_micro_batch() -> None:
    """Gemma 3 1B: 22 of 26 blocks look 512 tokens back, each with one KV head of 256."""
    gemma = Architecture(
        name="gemma3",
        n_layer=26,
        n_embd=1152,
        n_ff=6912,
        n_head=4,
        n_head_kv=1,
        head_dim=256,
        n_vocab=262144,
        context_length=32768,
        tied=True,
        pattern="sssssa",
        window=SlidingWindow(512),
    )
    cell = 2 * 256 * 2
    assert kv_cache_bytes(gemma, 32768, micro_batch=512) == (4 * 32768 + 22 * 1024) * cell
    assert kv_cache_bytes(gemma, 32768, micro_batch=128) == (4 * 32768 + 22 * 768) * cell
    assert kv_cache_bytes(gemma, 512, micro_batch=512) == 26 * 512 * cell


def test_latent_attention_keeps_one_vector_and_no_values() -> None:
    deepseek = Architecture(
        name="deepseek2",
        n_layer=27,
        n_embd=2048,
        n_ff=10944,
        n_head=16,
        n_head_kv=16,
        head_dim=192,
        n_vocab=102400,
        context_length=163840,
        mla=LatentAttention(kv_rank=512, rope_dim=64, nope_dim=128, value_dim=128),
    )
    assert kv_cache_bytes(deepseek, 4096) == 27 * 4096 * (512 + 64) * 2
    assert kv_type_problem(deepseek, "q8_0", "f16") is not None
    assert kv_type_problem(deepseek, "q8_0", "q8_0") is None


def test_recurrent_blocks_keep_a_state_that_no_context_changes() -> None:
    hybrid = Architecture(
        name="granitehybrid",
        n_layer=4,
        n_embd=2048,
        n_ff=8192,
        n_head=32,
        n_head_kv=8,
        head_dim=64,
        n_vocab=100352,
        context_length=131072,
        pattern="mmma",
        ssm=StateSpace(inner=4096, state=128, n_head=64, n_group=1),
    )
    convolution = 3 * (4096 + 2 * 128)
    assert state_bytes(hybrid) == 3 * 4 * (convolution + 128 * 4096)
    assert kv_cache_bytes(hybrid, 4096) == 4096 * 2 * 8 * 64 * 2  # one block with attention
    assert state_bytes(hybrid, n_parallel=4) == 4 * state_bytes(hybrid)


def test_a_cache_type_that_does_not_divide_a_head_is_named() -> None:
    phi = Architecture(
        name="phi2",
        n_layer=32,
        n_embd=2560,
        n_ff=10240,
        n_head=32,
        n_head_kv=32,
        head_dim=80,
        n_vocab=51200,
        context_length=2048,
    )
    problem = kv_type_problem(phi, "q8_0", "q8_0")
    assert problem is not None
    assert "80" in problem
    assert "32" in problem
    assert kv_type_problem(phi, "f16", "f16") is None


# --- the compute buffer -----------------------------------------------------------------------------------------


def test_logits_make_up_most_of_a_small_models_compute_buffer() -> None:
    """The design's observation: for small models with large vocabularies the micro-batch saves most."""
    gemma = find("gemma-3-270m-it").architecture
    assert gemma is not None
    logits = 512 * 262144 * 4
    assert compute_buffer_bytes(gemma, 4096) == pytest.approx(logits, rel=0.05)
    assert compute_buffer_bytes(gemma, 4096, all_logits=False) < logits / 10


def test_attention_without_flash_holds_all_scores() -> None:
    scores = 16384 * 32 * 512 * 4
    plain = compute_buffer_bytes(LLAMA_3_1_8B, 16384, flash_attention=False)
    assert scores < plain < 1.1 * scores


def test_the_engine_was_asked_about_every_architecture_of_the_catalog() -> None:
    """A model added to the catalog needs `make catalog`."""
    missing = [model.id for model in runnable() if not compute_buffer.is_measured(model.architecture)]
    assert missing == []


def test_the_formula_alone_is_near_the_engines_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user's own model gets: within the stated interval for 95% of the catalog, half of them within 1%."""
    archs = {model.architecture for model in runnable() if model.architecture is not None}
    asked = {arch: compute_buffer_bytes(arch, 8192) for arch in archs}
    monkeypatch.setattr(compute_buffer, "_buffers", lambda arch: None)
    errors = sorted(abs(compute_buffer_bytes(arch, 8192) / asked[arch] - 1) for arch in archs)
    assert errors[len(errors) // 2] < 0.01
    assert errors[int(0.95 * len(errors))] < 0.2


# --- a deployment -----------------------------------------------------------------------------------------------


def test_on_the_cpu_weights_are_the_files_tensors_and_the_terms_add_up() -> None:
    model = "Llama-3.1-8B"
    found = estimate(model)
    assert found.weights_host_bytes == pytest.approx(variant(model).tensor_bytes, rel=1e-4)
    assert found.kv_cache_bytes == 512 * MIB
    assert sum(found.terms().values()) == found.reserved_bytes == found.host_bytes
    assert found.accelerator_bytes == 0


def test_full_offload_leaves_the_look_up_table_on_the_host() -> None:
    model = "Llama-3.1-8B"
    found = estimate(model, "cuda", offload_layers=33)
    file = variant(model)
    assert found.weights_host_bytes == file.embedding_bytes
    assert found.weights_accelerator_bytes == file.layer_bytes + file.output_bytes
    assert found.kv_cache_host_bytes == 0
    assert found.overhead_accelerator_bytes >= 300 * MIB  # a CUDA context


def test_one_offloaded_layer_is_the_output_head() -> None:
    model = "Llama-3.1-8B"
    found = estimate(model, "cuda", offload_layers=1)
    assert found.weights_accelerator_bytes == variant(model).output_bytes
    assert found.kv_cache_accelerator_bytes == 0


def test_a_tied_embedding_is_on_both_sides_except_where_the_file_is_shared() -> None:
    model = "Llama-3.2-1B"
    everything = {"offload_layers": 17}
    cuda, metal = estimate(model, "cuda", **everything), estimate(model, "metal", **everything)
    file = variant(model)
    assert cuda.weights_host_bytes + cuda.weights_accelerator_bytes == file.tensor_bytes + file.output_bytes
    assert metal.weights_host_bytes + metal.weights_accelerator_bytes == file.tensor_bytes


def test_more_layers_than_the_model_has_means_all_of_them() -> None:
    model = "Llama-3.2-1B"
    assert estimate(model, "cuda", offload_layers=999) == estimate(model, "cuda", offload_layers=17)


def test_a_cpu_has_nothing_to_offload_to() -> None:
    model = "Llama-3.2-1B"
    assert estimate(model, "cpu", offload_layers=17) == estimate(model, "cpu", offload_layers=0)


def test_room_for_logits_is_reserved_and_not_resident() -> None:
    model = "gemma-3-270m-it"
    found = estimate(model)
    assert found.reserved_bytes - found.resident_bytes > 400 * MIB


# --- what always holds ------------------------------------------------------------------------------------------

# By name, so that a failure prints a name and not a table of sizes.
models = st.deferred(lambda: st.sampled_from([model.name for model in runnable()]))
contexts = st.integers(1, 200_000)
micro_batches = st.sampled_from([32, 64, 128, 256, 512, 1024, 2048, 4096])
backends = st.sampled_from(["cpu", "cuda", "metal", "vulkan"])
kv_types = st.sampled_from(KV_TYPES)


@given(models, contexts, contexts, micro_batches, kv_types, kv_types, backends)
def test_more_context_never_needs_less_memory(model, one, other, batch, type_k, type_v, backend) -> None:
    settings = {"micro_batch": batch, "type_k": type_k, "type_v": type_v, "offload_layers": 99}
    less = estimate(model, backend, context_length=min(one, other), **settings)
    more = estimate(model, backend, context_length=max(one, other), **settings)
    assert less.reserved_bytes <= more.reserved_bytes
    assert less.kv_cache_bytes <= more.kv_cache_bytes


@given(models, contexts, micro_batches, micro_batches, backends)
def test_a_bigger_micro_batch_never_needs_less(model, context, one, other, backend) -> None:
    small = estimate(model, backend, context_length=context, micro_batch=min(one, other), offload_layers=99)
    large = estimate(model, backend, context_length=context, micro_batch=max(one, other), offload_layers=99)
    assert small.reserved_bytes <= large.reserved_bytes
    assert small.reserved_high_bytes <= large.reserved_high_bytes


@given(models, contexts, micro_batches, backends)
def test_a_q8_0_cache_never_needs_more_than_f16(model, context, batch, backend) -> None:
    settings = {"context_length": context, "micro_batch": batch, "offload_layers": 99}
    q8_0 = estimate(model, backend, type_k="q8_0", type_v="q8_0", **settings)
    f16 = estimate(model, backend, **settings)
    assert q8_0.reserved_bytes <= f16.reserved_bytes


@given(models, st.integers(0, 100), st.integers(0, 100))
def test_more_offloaded_layers_never_put_more_weights_on_the_host(model, one, other) -> None:
    few = estimate(model, "cuda", offload_layers=min(one, other))
    many = estimate(model, "cuda", offload_layers=max(one, other))
    assert few.weights_host_bytes >= many.weights_host_bytes
    assert few.weights_accelerator_bytes <= many.weights_accelerator_bytes


@given(models, contexts, micro_batches, st.integers(0, 100), backends)
def test_every_value_lies_in_its_interval(model, context, batch, layers, backend) -> None:
    found = estimate(model, backend, context_length=context, micro_batch=batch, offload_layers=layers)
    assert found.host_low_bytes <= found.host_bytes <= found.host_high_bytes
    assert found.accelerator_low_bytes <= found.accelerator_bytes <= found.accelerator_high_bytes
    for value in (found.reserved, found.resident):
        assert 0 < value.low <= value.value <= value.high
    assert found.resident.value <= found.reserved.value


@given(models, st.integers(0, 100))
def test_nothing_is_lost_or_counted_twice_when_layers_move(model, layers) -> None:
    found = estimate(model, "cuda", offload_layers=layers)
    alone = estimate(model)
    twice = variant(model).output_bytes if find(model).architecture.tied and layers else 0
    assert found.weights_host_bytes + found.weights_accelerator_bytes == alone.weights_host_bytes + twice
    assert found.kv_cache_bytes == alone.kv_cache_bytes
    assert found.state_bytes == alone.state_bytes
