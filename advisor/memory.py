"""The memory of a deployment, term by term and by where it lies.

    estimate = estimate_memory(architecture, variant, Settings(context_length=8192), backend="cuda")
    estimate.terms()        # weights, cache, state, compute, overhead
    estimate.reserved       # what the engine allocates, with its interval
    estimate.resident       # what of it becomes resident in use

Weights, cache and state are exact; the compute buffer is the engine's own number where the engine was asked
(`advisor.compute_buffer`); the overhead of tokenizer, process and driver has a wide interval. The high ends are
sums of the terms' high ends, so that what fits by them does fit.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from advisor.catalog import Variant
from advisor.compute_buffer import compute_buffer_bytes, is_measured
from advisor.evidence import Value
from advisor.kv_cache import KV_TYPES, kv_cache_bytes, kv_type_problem, state_bytes
from profiles.device import Backend
from quantize.architecture import Architecture, Layer, layers

__all__ = [
    "KV_TYPES",
    "MemoryEstimate",
    "Settings",
    "compute_buffer_bytes",
    "estimate_memory",
    "kv_cache_bytes",
    "kv_type_problem",
    "state_bytes",
]

MIB = 1 << 20


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a variant is run. `offload_layers` counts as llama.cpp does: n_layer + 1 is everything, 0 nothing."""

    context_length: int
    type_k: str = "f16"
    type_v: str = "f16"
    micro_batch: int = 512
    offload_layers: int = 0
    threads: int | None = None
    threads_batch: int | None = None  # for processing prompts, where they differ; None: `threads`


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bytes. Each term by where it lies; totals are properties; `low` and `high` are the ends of 80% intervals."""

    weights_host_bytes: int
    weights_accelerator_bytes: int
    kv_cache_host_bytes: int
    kv_cache_accelerator_bytes: int
    state_host_bytes: int
    state_accelerator_bytes: int
    compute_host_bytes: int
    compute_accelerator_bytes: int
    overhead_host_bytes: int
    overhead_accelerator_bytes: int
    host_low_bytes: int
    host_high_bytes: int
    accelerator_low_bytes: int
    accelerator_high_bytes: int
    untouched_bytes: int  # of the host's compute buffer: room for logits that nobody asks for
    unread_bytes: int  # look-up tables of the weights: their pages are the first to be given up

    @property
    def kv_cache_bytes(self) -> int:
        return self.kv_cache_host_bytes + self.kv_cache_accelerator_bytes

    @property
    def state_bytes(self) -> int:
        return self.state_host_bytes + self.state_accelerator_bytes

    @property
    def compute_bytes(self) -> int:
        return self.compute_host_bytes + self.compute_accelerator_bytes

    @property
    def overhead_bytes(self) -> int:
        return self.overhead_host_bytes + self.overhead_accelerator_bytes

    @property
    def host_bytes(self) -> int:
        return (
            self.weights_host_bytes
            + self.kv_cache_host_bytes
            + self.state_host_bytes
            + self.compute_host_bytes
            + self.overhead_host_bytes
        )

    @property
    def accelerator_bytes(self) -> int:
        return (
            self.weights_accelerator_bytes
            + self.kv_cache_accelerator_bytes
            + self.state_accelerator_bytes
            + self.compute_accelerator_bytes
            + self.overhead_accelerator_bytes
        )

    @property
    def reserved_bytes(self) -> int:
        return self.host_bytes + self.accelerator_bytes

    @property
    def reserved_high_bytes(self) -> int:
        return self.host_high_bytes + self.accelerator_high_bytes

    @property
    def resident_bytes(self) -> int:
        return self.reserved_bytes - self.untouched_bytes

    @property
    def reserved(self) -> Value:
        """What the engine allocates and maps."""
        return Value(
            self.reserved_bytes, self.host_low_bytes + self.accelerator_low_bytes, self.reserved_high_bytes
        )

    @property
    def resident(self) -> Value:
        """What becomes resident: mapped weights count, room for logits that are never asked for does not.

        The cache counts in full, since the engine clears it when it makes it.
        """
        less = self.untouched_bytes
        low = self.host_low_bytes + self.accelerator_low_bytes - less - self.unread_bytes
        return Value(self.resident_bytes, low, self.reserved_high_bytes - less)

    def terms(self) -> dict[str, int]:
        """The terms that add up to `reserved_bytes`."""
        return {
            "weights_host_bytes": self.weights_host_bytes,
            "weights_accelerator_bytes": self.weights_accelerator_bytes,
            "kv_cache_bytes": self.kv_cache_bytes,
            "state_bytes": self.state_bytes,
            "compute_bytes": self.compute_bytes,
            "overhead_bytes": self.overhead_bytes,
        }


class Overhead(msgspec.Struct, frozen=True):
    """Bytes that a backend takes for itself on the accelerator and on the host: value, low and high."""

    accelerator: tuple[int, int, int]
    host: tuple[int, int, int]


# Driver contexts and kernels, in MiB. Not measured here: a CUDA context with its kernels takes 300 to 600 MiB on
# the card (NVIDIA's forum and llama.cpp's own reports of free memory before and after), others less is known of.
_BACKENDS: dict[str, Overhead] = {
    "cuda": Overhead((450, 300, 600), (250, 120, 450)),
    "rocm": Overhead((400, 200, 700), (300, 120, 600)),
    "sycl": Overhead((300, 100, 600), (250, 100, 500)),
    "vulkan": Overhead((150, 50, 350), (120, 40, 300)),
    "metal": Overhead((80, 20, 200), (60, 20, 150)),
    "opencl": Overhead((100, 30, 300), (80, 30, 200)),
    "hexagon": Overhead((60, 20, 200), (60, 20, 200)),
}

# Measured on x86-64 Linux: the program without a model (20 MiB of anonymous memory in Python, 5 in llama.cpp's own
# programs), and the engine's tokenizer, for nine vocabularies of 32,000 to 262,144 tokens 150 to 425 bytes a token.
_PROCESS_MIB = (20, 5, 60)
_BYTES_PER_TOKEN = (320, 150, 430)

# The engine's number may be off between the contexts it was asked at, where a tensor just fits into a hole or just
# does not; on an accelerator fused kernels reuse less.
_COMPUTE_ON_HOST = (0.95, 1.16)
_COMPUTE_ON_ACCELERATOR = (0.75, 1.25)
_COMPUTE_BY_FORMULA = (0.8, 1.25)

# A mixture gives the first and last blocks more bits than the others: as a share of what is split off.
_MIXTURE = 0.12


def estimate_memory(
    arch: Architecture, variant: Variant, settings: Settings, *, backend: Backend = "cpu", n_parallel: int = 1
) -> MemoryEstimate:
    """What running `variant` with `settings` takes, on the host and on the accelerator that `backend` names.

    As llama.cpp places things: the last `offload_layers` of the blocks and the output head go to the accelerator,
    the head first; a block takes its weights, cache and state with it. Look-up tables stay on the host; an
    embedding that is also the head is then there twice, except where mapped files are shared (Metal).
    """
    context, k, v, batch = settings.context_length, settings.type_k, settings.type_v, settings.micro_batch
    layers = 0 if backend == "cpu" else min(settings.offload_layers, arch.n_layer + 1)
    first = arch.n_layer + 1 - layers  # the first block on the accelerator
    kv = kv_cache_bytes(arch, context, k, v, batch, n_parallel)
    state = state_bytes(arch, n_parallel)
    full = compute_buffer_bytes(arch, context, batch, k, v)
    touched = min(full, compute_buffer_bytes(arch, context, batch, k, v, all_logits=False))
    host_overhead = _host_overhead(arch.n_vocab, backend if layers else "cpu")
    head = 0 if arch.tied else variant.output_bytes
    lookup = variant.embedding_bytes - (variant.output_bytes if arch.tied else 0)
    slack = _COMPUTE_ON_HOST if is_measured(arch) else _COMPUTE_BY_FORMULA
    if not layers:
        weights = variant.embedding_bytes + variant.layer_bytes + head
        exact = weights + kv + state
        return MemoryEstimate(
            weights_host_bytes=weights,
            weights_accelerator_bytes=0,
            kv_cache_host_bytes=kv,
            kv_cache_accelerator_bytes=0,
            state_host_bytes=state,
            state_accelerator_bytes=0,
            compute_host_bytes=full,
            compute_accelerator_bytes=0,
            overhead_host_bytes=host_overhead[0],
            overhead_accelerator_bytes=0,
            host_low_bytes=exact + int(full * slack[0]) + host_overhead[1],
            host_high_bytes=exact + int(full * slack[1]) + host_overhead[2],
            accelerator_low_bytes=0,
            accelerator_high_bytes=0,
            untouched_bytes=full - touched,
            unread_bytes=lookup,
        )
    share = _share(arch, first)
    moved = int(variant.layer_bytes * share)
    weights_accelerator = variant.output_bytes + moved
    weights_host = (lookup if backend == "metal" else variant.embedding_bytes) + variant.layer_bytes - moved
    kv_accelerator = kv if not first else kv_cache_bytes(arch, context, k, v, batch, n_parallel, first=first)
    state_accelerator = state if not first else state_bytes(arch, n_parallel, first=first)
    # With every block on the accelerator the host keeps the graph's inputs only; otherwise both work on blocks.
    compute_host = touched if first else min(touched, _inputs_bytes(arch, context, batch))
    device_overhead = _BACKENDS[backend].accelerator
    unsure = int(_MIXTURE * min(moved, variant.layer_bytes - moved))
    exact_host = weights_host + kv - kv_accelerator + state - state_accelerator
    exact_accelerator = weights_accelerator + kv_accelerator + state_accelerator
    low, high = _COMPUTE_ON_ACCELERATOR if is_measured(arch) else _COMPUTE_BY_FORMULA
    return MemoryEstimate(
        weights_host_bytes=weights_host,
        weights_accelerator_bytes=weights_accelerator,
        kv_cache_host_bytes=kv - kv_accelerator,
        kv_cache_accelerator_bytes=kv_accelerator,
        state_host_bytes=state - state_accelerator,
        state_accelerator_bytes=state_accelerator,
        compute_host_bytes=compute_host,
        compute_accelerator_bytes=full,
        overhead_host_bytes=host_overhead[0],
        overhead_accelerator_bytes=device_overhead[0] * MIB,
        host_low_bytes=exact_host - unsure + int(compute_host * low) + host_overhead[1],
        host_high_bytes=exact_host + unsure + int(compute_host * high) + host_overhead[2],
        accelerator_low_bytes=exact_accelerator - unsure + int(full * low) + device_overhead[1] * MIB,
        accelerator_high_bytes=exact_accelerator + unsure + int(full * high) + device_overhead[2] * MIB,
        untouched_bytes=0,  # accelerators have no pages that wait to be touched
        unread_bytes=lookup,
    )


@lru_cache(maxsize=4096)
def _host_overhead(n_vocab: int, backend: str) -> tuple[int, int, int]:
    """Process, tokenizer and the row of logits that is handed out; the driver's share on the host. Bytes."""
    driver = _BACKENDS[backend].host if backend in _BACKENDS else (0, 0, 0)
    value, low, high = (
        (process + shared) * MIB + n_vocab * (per_token + 4)
        for process, shared, per_token in zip(_PROCESS_MIB, driver, _BYTES_PER_TOKEN, strict=True)
    )
    return value, low, high


def _inputs_bytes(arch: Architecture, context_length: int, micro_batch: int) -> int:
    """The graph's inputs, which a host keeps for a fully offloaded model: embeddings and the masks, F16."""
    tokens = min(micro_batch, context_length)
    return tokens * (4 * arch.n_embd + 2 * context_length)


@lru_cache(maxsize=4096)
def _share(arch: Architecture, first: int) -> float:
    """The share of the blocks' weights that lies in the blocks from `first` on, by count of matrix weights."""
    units = layers(arch)[: arch.n_layer]
    if first <= 0 or first >= len(units):
        return float(first <= 0)
    weights = {unit: _weights(arch, unit) for unit in set(units)}
    return sum(weights[unit] for unit in units[first:]) / sum(weights[unit] for unit in units)


def _weights(arch: Architecture, unit: Layer) -> int:
    """Weights of a block's matrices, close enough to share out what all blocks weigh.

    Attention: query, key, value and output; networks: gate, up and down, of each expert; recurrent blocks: input
    (gate and convolution) and output.
    """
    attention = (unit.n_head + unit.n_head_kv) * (unit.head_dim_k + unit.head_dim_v)
    networks = 3 * (unit.n_ff + unit.n_ff_shared + unit.n_expert * unit.n_ff_expert)
    recurrent = 2 * arch.ssm.inner + arch.ssm.conv_width if arch.ssm and unit.recurrent_state else 0
    short = 4 * arch.n_embd if unit.conv_state and not unit.recurrent_state else 0
    return arch.n_embd * (attention + networks + recurrent + short)
