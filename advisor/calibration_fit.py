"""From timings of the synthetic models to the terms of a calibration. Pure: the engine is not needed here.

Each term is solved from the models in which it stands out, in the order of `fit`: the cache from two depths of the
same model, overheads from narrow and wide blocks, types from wide blocks, kinds from what is left of theirs. A term
that noise would make negative is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from advisor.load import Load, WeightGroup
from advisor.processors import Processor
from advisor.speed_calibrated import HALF_BLOCK, group_s
from advisor.speed_coefficients import coefficients
from advisor.speed_spec import make_plan as spec_plan
from profiles.backends import Backend
from profiles.calibration import BackendCalibration, KindCost, ThreadRate, TypeRate
from quantize.types import TENSOR_TYPES

_LEAST_S = 1e-9
MOST_BATCH_SHARE = 20.0  # of what a batch costs beside its tokens, in units of reading the weights once
_SHORTEST_SHARE = 0.1  # of a measured time that matrices take at least, whatever noise says


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What one synthetic model took: seconds for each prompt token and for each generated token."""

    load: Load
    n_prompt: int
    depth: int = 0  # tokens in the cache before
    prompt_s: float  # a token
    token_s: float  # generated
    position: float  # in the cache, of the generated token
    short_prompt: int = 0  # another, much shorter prompt
    short_s: float = 0.0  # the whole of it

    @property
    def blocks(self) -> int:
        return sum(count for kind, count in self.load.nodes if kind != "experts")

    @property
    def weights(self) -> float:
        return sum(group.weights for group in self.load.weights if group.type != "F32")

    @property
    def bytes_(self) -> float:
        return sum(group.bytes_ for group in self.load.weights if group.type != "F32")

    @property
    def rows(self) -> float:
        load = self.load
        head = sum(group.head_weights for group in load.weights)
        return head / load.n_embd + (self.weights - head) / (load.row_length or load.n_embd)

    @property
    def elements(self) -> float:
        """Activations that a prompt's token passes: one for each block and width of the model."""
        return max(0.0, self.blocks - HALF_BLOCK) * self.load.n_embd

    @property
    def prompt_weights(self) -> float:
        """Weights that each token of a prompt is multiplied with: no head, no network of the last block."""
        head = sum(group.head_weights for group in self.load.weights)
        return max(self.weights - head - self.load.tail_weights, 0.3 * self.weights)


class Depths(msgspec.Struct, frozen=True):
    """One attention model on an empty and on a filled cache."""

    shallow: Timing
    deep: Timing


class Attention(msgspec.Struct, frozen=True):
    """Seconds for each head, operation and byte of a position to generate; operations per second of a prompt."""

    head_s: float
    flop_s: float
    byte_s: float
    prompt_flops: float

    def token_s(self, timing: Timing) -> float:
        return sum(
            timing.position
            * (
                read.heads * self.head_s
                + read.flops_per_position * self.flop_s
                + read.bytes_per_position * self.byte_s
            )
            for read in timing.load.cache
        )

    def prompt_token_s(self, timing: Timing) -> float:
        middle = timing.depth + timing.n_prompt / 2
        return sum(middle * read.flops_per_position / self.prompt_flops for read in timing.load.cache)


def fit_attention(measured: Sequence[Depths]) -> Attention:
    """Non-negative least squares of what the depth added, relative to what it added."""
    rows, prompt = [], []
    for pair in measured:
        positions = pair.deep.position - pair.shallow.position
        added = max((pair.deep.token_s - pair.shallow.token_s) / positions, _LEAST_S)
        heads = sum(read.heads for read in pair.deep.load.cache)
        flops = sum(read.flops_per_position for read in pair.deep.load.cache)
        bytes_ = sum(read.bytes_per_position for read in pair.deep.load.cache)
        rows.append((heads / added, flops / added, bytes_ / added))
        deeper = (pair.deep.depth + pair.deep.n_prompt / 2) - (pair.shallow.depth + pair.shallow.n_prompt / 2)
        more = pair.deep.prompt_s - pair.shallow.prompt_s
        prompt.append(flops * deeper / max(more, 0.02 * pair.deep.prompt_s, _LEAST_S))
    head, flop, byte = non_negative(rows)
    return Attention(head, flop, byte, sorted(prompt)[len(prompt) // 2])


def non_negative(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """x >= 0 that makes every row's sum of row[j] * x[j] nearest to 1, by coordinate descent."""
    scale = [max(row[j] for row in rows) or 1.0 for j in range(len(rows[0]))]
    scaled = [[value / s for value, s in zip(row, scale, strict=True)] for row in rows]
    x = [0.0] * len(scale)
    for _ in range(4000):
        for j in range(len(x)):
            square = sum(row[j] ** 2 for row in scaled)
            if square:
                rest = sum(
                    row[j] * (1.0 - sum(row[k] * x[k] for k in range(len(x)) if k != j)) for row in scaled
                )
                x[j] = max(0.0, rest / square)
    return tuple(value / s for value, s in zip(x, scale, strict=True))


class Base(msgspec.Struct, frozen=True):
    """Overheads, solved from a few, many narrow and some wide blocks of one type."""

    token_s: float
    block_s: float
    element_s: float


def fit_base(
    few: Timing, narrow: Timing, wide: Timing, short_rows: Timing, attention: Attention
) -> tuple[Base, float]:
    """The overheads, and what a row costs. Four equations for the generated token, two for the prompt's.

    all:          token_s + blocks x block_s + bytes x byte_s + rows x row_s
    narrow, wide: blocks x n_embd x element_s + weights / rate
    """
    few_s, narrow_s, wide_s, rows_s = (
        timing.token_s - attention.token_s(timing) for timing in (few, narrow, wide, short_rows)
    )
    token_s = block_s = byte_s = row_s = 0.0
    for _ in range(200):  # one unknown after the other
        n, w = (
            total - token_s - row_s * timing.rows for total, timing in ((narrow_s, narrow), (wide_s, wide))
        )
        determinant = narrow.blocks * wide.bytes_ - wide.blocks * narrow.bytes_
        block_s = max(0.0, (n * wide.bytes_ - w * narrow.bytes_) / determinant)
        byte_s = max((w - wide.blocks * block_s) / wide.bytes_, _SHORTEST_SHARE * wide_s / wide.bytes_)
        left = rows_s - token_s - short_rows.blocks * block_s - short_rows.bytes_ * byte_s
        row_s = 0.5 * (row_s + max(0.0, left / short_rows.rows))
        # A few blocks fit into a cache, so that of their matrices only the rows count as elsewhere.
        token_s = max(0.0, few_s - few.blocks * narrow_s / narrow.blocks)
    n, w = (_prompt_token_s(timing, attention) for timing in (narrow, wide))
    elements = [timing.elements for timing in (narrow, wide)]
    determinant = elements[0] * wide.prompt_weights - elements[1] * narrow.prompt_weights
    element_s = max(0.0, (n * wide.prompt_weights - w * narrow.prompt_weights) / determinant)
    element_s = min(element_s, (1 - _SHORTEST_SHARE) * n / elements[0])
    return Base(token_s, block_s, element_s), row_s


def _batch_s(timing: Timing, attention: Attention) -> float:
    """What a batch costs beside its tokens: the straight line through a short and a long prompt, at no tokens.

    Some kernels unpack the weights once for a batch, which may take as long as hundreds of its tokens.
    """
    more = timing.n_prompt - timing.short_prompt
    if not timing.short_prompt or more <= 0:
        return 0.0
    short = msgspec.structs.replace(timing, n_prompt=timing.short_prompt)
    long_s = timing.n_prompt * (timing.prompt_s - attention.prompt_token_s(timing))
    short_s = timing.short_s - timing.short_prompt * attention.prompt_token_s(short)
    slope = (long_s - short_s) / more
    return min(max(0.0, short_s - timing.short_prompt * slope), 0.9 * timing.short_s)


def _prompt_token_s(timing: Timing, attention: Attention) -> float:
    """Seconds of a prompt's token without attention, and without its share of what the batch costs."""
    batch_s = _batch_s(timing, attention)
    return timing.prompt_s - batch_s / timing.n_prompt - attention.prompt_token_s(timing)


def fit_type(
    name: str, wide: Timing, short_rows: Timing | None, base: Base, attention: Attention
) -> TypeRate:
    """A type's rates: what is left of its models' times without overheads and cache.

    Wide blocks and short rows are two equations for the time of a byte and of a row; without short rows there is
    none for the row, and the bytes take all of it.
    """
    decode = _matrices_s(wide, base, attention)
    row_s = 0.0
    if short_rows is not None:
        short = _matrices_s(short_rows, base, attention)
        determinant = short_rows.rows * wide.bytes_ - wide.rows * short_rows.bytes_
        row_s = max(0.0, (short * wide.bytes_ - decode * short_rows.bytes_) / determinant)
        row_s = min(row_s, (1 - _SHORTEST_SHARE) * decode / wide.rows)
    prompt = _prompt_token_s(wide, attention) - wide.elements * base.element_s
    prompt = max(prompt, _SHORTEST_SHARE * wide.prompt_s)
    return TypeRate(
        type=name,
        decode_bytes_per_s=wide.bytes_ / (decode - wide.rows * row_s),
        row_s=row_s,
        prompt_weights_per_s=wide.prompt_weights / prompt,
        batch_share=min(MOST_BATCH_SHARE, _batch_s(wide, attention) / decode),
    )


def _matrices_s(timing: Timing, base: Base, attention: Attention) -> float:
    """Seconds of a generated token without cache and overheads."""
    left = timing.token_s - attention.token_s(timing) - base.token_s - timing.blocks * base.block_s
    return max(left, _SHORTEST_SHARE * timing.token_s)


def fit_kind(kind: str, timing: Timing, rate: TypeRate, base: Base, attention: Attention) -> KindCost:
    """What blocks of `kind` cost beyond their matrices and an attention block's overhead.

    One model cannot tell a block's overhead from its state. The overhead is taken in the proportion that published
    measurements show, and what is left is the state's; without a state all of it is the block's.
    """
    count = dict(timing.load.nodes)[kind]
    others = timing.blocks - (count if kind != "experts" else 0)
    matrices = sum(group_s(timing.load, group, rate) for group in timing.load.weights if group.type != "F32")
    left = timing.token_s - attention.token_s(timing) - base.token_s - matrices
    prompt = _prompt_token_s(timing, attention) - timing.elements * base.element_s
    multiplied = timing.prompt_weights / rate.prompt_weights_per_s
    state = timing.load.state_bytes
    if not state:
        extra = max(0.0, (left - timing.blocks * base.block_s) / count)
        share = timing.load.expert_share
        factor = 1.0 + (prompt / multiplied - 1.0) / share if share else 1.0
        return KindCost(kind=kind, block_s=extra, prompt_factor=min(100.0, max(1.0, factor)))
    ratio = coefficients().cpu_nodes.get(kind, 1.0)
    extra = max(0.0, ratio - 1.0) * base.block_s
    left -= others * base.block_s + count * (base.block_s + extra)
    return KindCost(
        kind=kind,
        block_s=extra,
        state_s_per_byte=max(0.0, left / state),
        prompt_state_s_per_byte=max(0.0, (prompt - multiplied) / state),
    )


def derived(measured: Sequence[TypeRate], processor: Processor) -> tuple[TypeRate, ...]:
    """All types: those measured, and the others from the nearest of them by the ratio of grade `spec`.

    Nearest: of the same family (IQ or not, float or not) where one was measured, then by bits per weight.
    """
    own = {rate.type: rate for rate in measured}
    if processor.bandwidth_bytes_per_s is None:
        fastest = max(rate.decode_bytes_per_s for rate in measured)
        processor = msgspec.structs.replace(processor, bandwidth_bytes_per_s=fastest)
    plans = {name: _one_type(name, processor) for name in coefficients().cpu.decode["x86"]}
    rates = list(measured)
    for name, (decode, prompt) in plans.items():
        if name in own:
            continue
        near = min(own, key=lambda other: _distance(name, other))
        decode_s, prompt_s = plans[near]
        rates.append(
            TypeRate(
                type=name,
                decode_bytes_per_s=own[near].decode_bytes_per_s
                * (decode_s / decode)
                * (TENSOR_TYPES[name].bits_per_weight / TENSOR_TYPES[near].bits_per_weight),
                row_s=own[near].row_s,
                prompt_weights_per_s=own[near].prompt_weights_per_s * (prompt_s / prompt),
                batch_share=own[near].batch_share,
                derived_from=near,
            )
        )
    return tuple(rates)


def _one_type(name: str, processor: Processor) -> tuple[float, float]:
    """Seconds at grade `spec` for a billion weights of one type: to generate a token, and for a prompt's."""
    weights = 1e9
    group = WeightGroup(name, weights * TENSOR_TYPES[name].bits_per_weight / 8, weights)
    load = Load((group,), (), (), 0.0, group.bytes_, 0.0)
    plan = spec_plan(coefficients(), processor, load)
    return plan.weights_total_s, plan.token_s


def _distance(one: str, other: str) -> tuple[bool, bool, float]:
    def is_float(name: str) -> bool:
        return TENSOR_TYPES[name].block_size == 1

    bits = TENSOR_TYPES[one].bits_per_weight - TENSOR_TYPES[other].bits_per_weight
    return is_float(one) != is_float(other), one.startswith("IQ") != other.startswith("IQ"), abs(bits)


def backend_calibration(
    backend: Backend,
    accelerator: int | None,
    base: Base,
    attention: Attention,
    types: Sequence[TypeRate],
    kinds: Sequence[KindCost],
    by_threads: Sequence[ThreadRate],
    threads: tuple[int, int],
) -> BackendCalibration:
    """The fitted terms as they are kept; `threads`: fastest to generate, fastest for prompts."""
    return BackendCalibration(
        backend=backend,
        accelerator=accelerator,
        threads=threads[0],
        threads_batch=threads[1],
        token_s=base.token_s,
        block_s=base.block_s,
        element_s=base.element_s,
        head_s=attention.head_s,
        attention_s_per_flop=attention.flop_s,
        cache_s_per_byte=attention.byte_s,
        prompt_attention_flops=attention.prompt_flops,
        types=tuple(types),
        kinds=tuple(kinds),
        by_threads=tuple(by_threads),
    )
