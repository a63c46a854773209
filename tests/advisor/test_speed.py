"""Speed at grade `spec`: what must always hold, and what a user would notice if it did not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog import load_catalog
from advisor.load import Load, load_of
from advisor.processors import Processor, processors, with_backend
from advisor.speed import SpeedEstimate, estimate_speed
from profiles.device import Accelerator, Cpu, Device, Memory
from profiles.library import find

DEVICES = (
    "NVIDIA GeForce RTX 3080",
    "NVIDIA GeForce GTX 1060 6 GB",
    "AMD Radeon RX 7900 XTX",
    "Intel Arc A770",
    "Apple M2 Ultra (76-core GPU)",
    "Snapdragon 8 Elite Gen 5",
    "Raspberry Pi 5 / CM5 / 500",
    "AMD Ryzen 9 7950X desktop",
    "NVIDIA Jetson Orin NX 16 GB",
)
MODELS = ("Llama-3.1-8B", "Qwen3-30B-A3B", "Qwen3.5-4B", "gemma-3-4b", "LFM2-1.2B", "SmolLM2-135M")
QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q4_0", "IQ2_XXS")


def load(model: str, quant: str = "Q4_K_M", kv: str = "F16") -> Load:
    entry = load_catalog().find(model)
    return load_of(entry, entry.variant(quant), kv, kv)


def best(device: str) -> Processor:
    return processors(find(device))[0]


def cpu_of(device: str) -> Processor:
    return processors(find(device))[-1]


def estimate(
    processor: Processor, work: Load, n_prompt: int = 512, n_gen: int = 128, **more: object
) -> SpeedEstimate:
    made = estimate_speed(processor, work, n_prompt=n_prompt, n_gen=n_gen, **more)  # type: ignore[arg-type]
    assert made is not None
    return made


every_device = st.sampled_from(DEVICES).map(best) | st.sampled_from(DEVICES).map(cpu_of).filter(
    lambda processor: processor.bandwidth_bytes_per_s is not None
)
every_load = st.builds(load, st.sampled_from(MODELS), st.sampled_from(QUANTS))


@given(every_device, every_load, st.floats(1.0, 8.0))
def test_more_bandwidth_is_never_slower(processor: Processor, work: Load, factor: float) -> None:
    """Twice the bandwidth generates and reads at least as fast, whatever else bounds it."""
    assert processor.bandwidth_bytes_per_s is not None
    faster = msgspec.structs.replace(
        processor, bandwidth_bytes_per_s=processor.bandwidth_bytes_per_s * factor
    )
    before, after = estimate(processor, work), estimate(faster, work)
    assert after.tg.value >= before.tg.value * (1 - 1e-12)
    assert after.pp.value >= before.pp.value * (1 - 1e-12)


@given(every_device, every_load, st.integers(0, 100_000), st.integers(0, 100_000))
def test_more_depth_is_never_faster(processor: Processor, work: Load, one: int, other: int) -> None:
    """A longer conversation never speeds the next token or the next prompt up."""
    shallow, deep = (estimate(processor, work, depth=depth) for depth in sorted((one, other)))
    assert deep.tg.value <= shallow.tg.value
    assert deep.pp.value <= shallow.pp.value
    assert deep.ttft_s.value >= shallow.ttft_s.value


@given(every_device, every_load, st.floats(0.05, 1.0))
def test_fewer_bytes_of_the_same_types_are_never_slower(
    processor: Processor, work: Load, share: float
) -> None:
    """A smaller model of the same make runs at least as fast."""
    groups = tuple(
        msgspec.structs.replace(
            group,
            bytes_=group.bytes_ * share,
            weights=group.weights * share,
            head_weights=group.head_weights * share,
        )
        for group in work.weights
    )
    smaller = msgspec.structs.replace(work, weights=groups, prompt_bytes=work.prompt_bytes * share)
    assert estimate(processor, smaller).tg.value >= estimate(processor, work).tg.value * (1 - 1e-12)
    assert estimate(processor, smaller).pp.value >= estimate(processor, work).pp.value * (1 - 1e-12)


@given(every_device, every_load, st.integers(0, 8192), st.integers(1, 4096), st.integers(0, 8192))
def test_terms_add_up_and_intervals_hold_their_value(
    processor: Processor, work: Load, n_prompt: int, n_gen: int, depth: int
) -> None:
    """What `--verbose` lists sums to what is promised, and no interval misses its own estimate."""
    made = estimate(processor, work, n_prompt, n_gen, depth=depth)
    terms = made.decode
    parts = (
        terms.overhead_s + sum(terms.weights_s.values()) + terms.state_s + terms.kv_cache_s + terms.transfer_s
    )
    assert parts == pytest.approx(terms.total_s)
    assert made.tg.value == pytest.approx(1 / terms.total_s)
    for value in (made.pp, made.tg, made.ttft_s):
        assert 0 < value.low <= value.value <= value.high
        assert value.evidence == "spec"


@pytest.mark.parametrize("quant", QUANTS)
def test_offloading_part_lies_between_all_and_nothing(quant: str) -> None:
    """Half of the layers on a card beats the host alone and loses to the whole model on the card."""
    card, host = best("NVIDIA GeForce RTX 3080"), cpu_of("AMD Ryzen 9 7950X desktop")
    work = load("Llama-3.1-8B", quant)
    alone, whole = estimate(host, work), estimate(card, work)
    half = estimate(card, work, offload_fraction=0.5, host=host)
    assert alone.tg.value < half.tg.value < whole.tg.value
    assert half.pp.value < whole.pp.value
    assert half.ttft_s.value > whole.ttft_s.value


def test_a_mixture_of_experts_costs_its_active_weights_to_generate() -> None:
    """30B with 3B active generates several times faster than a dense 24B, which reads everything."""
    card = best("NVIDIA GeForce RTX 3090")
    sparse, dense = (
        estimate(card, load("Qwen3-30B-A3B")),
        estimate(card, load("Mistral-Small-24B-Instruct-2501")),
    )
    assert sparse.tg.value > 2.5 * dense.tg.value


def test_low_bit_types_are_bound_by_arithmetic_on_a_small_board() -> None:
    """On a Raspberry Pi the 2-bit weights are 28% of the 8-bit ones and gain far less than that."""
    board = cpu_of("Raspberry Pi 5 / CM5 / 500")
    small, large = load("Llama-3.1-8B", "IQ2_XXS"), load("Llama-3.1-8B", "Q8_0")
    gain = estimate(board, small).tg.value / estimate(board, large).tg.value
    bytes_gain = sum(group.bytes_ for group in large.weights) / sum(group.bytes_ for group in small.weights)
    assert gain < 0.6 * bytes_gain


def test_threads_beyond_the_performance_cores_do_not_speed_decoding_up() -> None:
    """More threads than cores is what people try first; it must not look like a gain."""
    board, work = cpu_of("Raspberry Pi 5 / CM5 / 500"), load("SmolLM2-135M")
    assert estimate(board, work, threads=8).tg.value < estimate(board, work, threads=4).tg.value


def test_a_smaller_cache_type_helps_only_at_depth() -> None:
    """Q8_0 for keys and values: the same speed on an empty cache, faster at 32,000 tokens."""
    card = best("NVIDIA GeForce RTX 3080")
    full, packed = load("Llama-3.1-8B"), load("Llama-3.1-8B", kv="Q8_0")
    deep = [estimate(card, work, depth=32_000).tg.value for work in (full, packed)]
    fresh = [estimate(card, work, n_prompt=0, n_gen=0).tg.value for work in (full, packed)]
    assert deep[1] > 1.05 * deep[0]
    assert fresh[1] == pytest.approx(fresh[0], rel=1e-6)


@pytest.mark.parametrize("rate", [29.77e12, 59.5e12, 119e12, None])
def test_shader_and_tensor_rates_of_one_card_give_one_estimate(rate: float | None) -> None:
    """Sheets give a card's FP16 rate by shaders or by tensor cores; the prompt is as fast either way."""
    card = Accelerator(
        name="NVIDIA GeForce RTX 3080",
        backend="cuda",
        memory_bandwidth_bytes_per_s=760e9,
        fp16_flops=rate,
    )
    own = processors(Device(name="a PC", class_="nvidia", accelerators=(card,)))[0]
    assert estimate(own, load("Llama-3.1-8B")).pp.value == pytest.approx(
        estimate(best("NVIDIA GeForce RTX 3080"), load("Llama-3.1-8B")).pp.value, rel=0.05
    )


def test_the_1_64_rate_of_a_pascal_card_does_not_make_it_64_times_slower() -> None:
    """A GTX 1080 Ti is listed with 0.18 TFLOPS of FP16; llama.cpp does not use that unit."""
    card = Accelerator(
        name="GeForce GTX 1080 Ti",
        backend="cuda",
        memory_bandwidth_bytes_per_s=484e9,
        fp16_flops=0.18e12,
    )
    own = processors(Device(class_="nvidia", accelerators=(card,)))[0]
    made = estimate(own, load("Llama-2-7B", "Q4_0"), n_gen=0)
    assert made.pp.low < 1084 < made.pp.high  # llama.cpp discussion 15013, pp512


@pytest.mark.parametrize(
    ("device", "model", "quant", "tokens_per_s"),
    [
        ("Apple M4 (10-core GPU)", "Llama-3.1-8B", "Q4_K_M", 20.9),  # brand-o/normiebench#3
        ("Apple M1 Ultra (64-core GPU)", "TinyLlama", "Q4_K_M", 242.6),  # geerlingguy/ai-benchmarks#48
    ],
)
def test_published_rates_that_no_fit_has_seen_lie_in_the_interval(
    device: str, model: str, quant: str, tokens_per_s: float
) -> None:
    """Rates from elsewhere than measurements.csv."""
    made = estimate(best(device), load(model, quant), n_prompt=0)
    assert made.tg.low < tokens_per_s < made.tg.high


def test_without_bandwidth_there_is_no_estimate() -> None:
    """A computer whose memory speed nobody knows gets no number, instead of a guess."""
    unknown = processors(Device(name="a box", cpu=Cpu(name="some CPU", cores=4), memory=Memory()))[0]
    assert estimate_speed(unknown, load("Llama-3.1-8B"), n_prompt=1, n_gen=1) is None


def test_what_had_to_be_guessed_is_named_and_widens_the_interval() -> None:
    """A CPU known by nothing but its bandwidth still gets an estimate, less sure of itself."""

    def of(name: str) -> SpeedEstimate:
        device = Device(
            name=name,
            class_="laptop",
            cpu=Cpu(name=name, performance_cores=8, cores=8, isa=("avx2",)),
            memory=Memory(bandwidth_bytes_per_s=90e9),
        )
        return estimate(processors(device)[0], load("Llama-3.2-3B"))

    known, unknown = of("AMD Ryzen 7 7840HS"), of("Brandnew 9000")
    assert known.assumptions == ()
    assert unknown.assumptions == ("core",)
    assert unknown.tg.high / unknown.tg.low > known.tg.high / known.tg.low


def test_a_phone_runs_on_its_npu_where_asked() -> None:
    """Hexagon is another processor than the Adreno beside it: other kernels, other speed."""
    gpu = next(way for way in processors(find("Snapdragon 8 Elite Gen 5")) if way.backend == "opencl")
    npu = with_backend(gpu, "hexagon")
    work = load("Qwen3-1.7B", "Q4_0")
    assert npu.generation == "hexagon"
    assert estimate(npu, work).pp.value != pytest.approx(estimate(gpu, work).pp.value, rel=0.05)


@pytest.mark.parametrize(
    ("isa", "kernels"),
    [
        (("avx2", "avx512_vnni"), "x86"),
        (("neon", "dotprod", "i8mm"), "i8mm"),
        (("neon", "dotprod"), "dotprod"),
        (("neon",), "neon"),
    ],
)
def test_kernels_follow_the_instruction_set(isa: tuple[str, ...], kernels: str) -> None:
    """A Mac with "40-core GPU" in its name is no Intel Core."""
    device = Device(name="Apple M4 Max (40-core GPU)", cpu=Cpu(name="a chip", isa=isa))
    assert processors(device)[-1].kernels == kernels


def test_a_card_on_a_small_board_pays_more_overhead_than_in_a_pc() -> None:
    """The same Radeon behind a Raspberry Pi generates more slowly with a small model."""
    board, pc = best("Raspberry Pi 5 (AMD Radeon RX 7900 XT)"), best("AMD Radeon RX 7900 XT")
    work = load("SmolLM2-135M")
    assert estimate(board, work).tg.value < 0.8 * estimate(pc, work).tg.value


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("NVIDIA GeForce RTX 5090", "blackwell"),
        ("NVIDIA RTX 5000 Ada Generation", "ada"),
        ("NVIDIA RTX A1000", "ampere"),
        ("NVIDIA A100 PCIe 80 GB", "ampere-hbm"),
        ("Quadro RTX 6000", "turing"),
        ("NVIDIA GeForce GTX 1660 Ti", "turing-gtx"),
        ("Tesla P100", "pascal-hbm"),
        ("Apple A16 5-core", "apple-phone"),
        ("Apple M2 Ultra (76-core GPU)", "apple-ultra"),
        ("Radeon 780M", "rdna3-igpu"),
        ("Arc 140V (Xe2)", "battlemage"),
        ("Iris Xe 96EU", "xe-igpu"),
        ("Jetson AGX Orin 64 GB", "orin"),
        ("Voodoo 2", None),
    ],
)
def test_names_tell_the_generation(name: str, generation: str | None) -> None:
    """The generation decides the rate of matrix products, so a mixed-up name is a wrong prompt speed."""
    from advisor.processors import generation_of

    assert generation_of(name) == generation
