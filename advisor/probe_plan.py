"""What a probe runs: the model whole, or which slices of it. Decided by bytes, memory, disk and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from advisor.evidence import Value
from quantize.architecture import Architecture
from quantize.slices import Slice, block_bytes, slice_of, slice_types, smallest_slice
from quantize.synthetic import synthetic_bytes

WHOLE_S = 25.0
"""A model that is written, loaded and timed in this time is probed whole."""

UNKNOWN_WHOLE_BYTES = 1_000_000_000  # and one of this size, where no speed can be estimated
MAX_BYTES = 8_000_000_000  # of all slices together: more takes too long to write
CACHES = 4  # what a token of the smallest slice reads, in last-level caches
USUAL_CACHE_BYTES = 32 << 20  # where the device does not tell
_WRITTEN_AND_LOADED_BYTES_PER_S = (
    0.4e9  # into the page cache and from there: slow for a laptop, quick for a board
)
_ROUNDS, _GENERATED = 5, 32  # of a whole probe, its warm-up included


class Part(msgspec.Struct, frozen=True):
    """One file to write and to time."""

    slice: Slice
    types: dict[str, str]
    file_bytes: int
    blocks_bytes: float  # that a token reads in its blocks


class Plan(msgspec.Struct, frozen=True):
    """One part is the whole model; more are slices. `blocks_bytes`: of the whole model."""

    parts: tuple[Part, ...]
    blocks_bytes: float

    @property
    def whole(self) -> bool:
        return len(self.parts) == 1

    @property
    def file_bytes(self) -> int:
        return sum(part.file_bytes for part in self.parts)


def plan_whole(arch: Architecture, types: Mapping[str, str]) -> Plan:
    """The whole model as the engine runs it."""
    return plan_slices(arch, types, (arch.n_layer,))


def plan_slices(arch: Architecture, types: Mapping[str, str], sizes: Iterable[int]) -> Plan:
    """Slices of these numbers of layers."""
    blocks = block_bytes(arch, types)
    parts = []
    for n_layer in sizes:
        part = slice_of(arch, types, n_layer)
        own = slice_types(part, types)
        read = float(sum(blocks[index] for index in part.sources))
        parts.append(Part(part, own, synthetic_bytes(part.architecture, own), read))
    return Plan(tuple(parts), float(sum(blocks)))


def choose_plan(
    arch: Architecture,
    types: Mapping[str, str],
    *,
    head_bytes: int,
    predicted: tuple[Value | None, Value | None],
    n_prompt: int,
    room_bytes: int | None = None,
    l3_bytes: int | None = None,
) -> Plan | None:
    """The whole model where it is quickly done, else the largest slices that are worth it; None if nothing fits.

    `predicted`: tokens/s of prompt and answer. `head_bytes` are read for each token beside the blocks;
    `room_bytes` is the memory and disk for all files.
    """
    room = min(MAX_BYTES, room_bytes) if room_bytes is not None else MAX_BYTES
    whole = plan_whole(arch, types)
    if whole.file_bytes <= room and _quick(whole.file_bytes, predicted, n_prompt):
        return whole
    for sizes in slice_sizes(arch, types, head_bytes, l3_bytes):
        plan = plan_slices(arch, types, sizes)
        if plan.file_bytes <= room and plan.file_bytes < 1.5 * whole.file_bytes:
            return plan
    return whole if whole.file_bytes <= room else None


def slice_sizes(
    arch: Architecture, types: Mapping[str, str], head_bytes: int, l3_bytes: int | None
) -> list[tuple[int, ...]]:
    """Numbers of layers to try, best first: far apart, the smallest still larger than the last-level cache.

    A slice that stays in the cache would be quicker than its share of the model, which does not.
    """
    blocks = block_bytes(arch, types)
    layer = max(1.0, sum(blocks) / len(blocks))
    missing = CACHES * (l3_bytes or USUAL_CACHE_BYTES) - head_bytes
    least = max(smallest_slice(arch), -int(-missing // layer) if missing > 0 else 0)
    most = arch.n_layer // 2
    triples: list[tuple[int, ...]] = [
        (least, least + (last - least) // 3, last) for last in range(min(most, 4 * least), least + 2, -1)
    ]
    pairs: list[tuple[int, ...]] = [(least, last) for last in range(min(most, 2 * least + 1), least, -1)]
    return triples + pairs


def _quick(file_bytes: int, predicted: tuple[Value | None, Value | None], n_prompt: int) -> bool:
    pp, tg = predicted
    if pp is None or tg is None:
        return file_bytes <= UNKNOWN_WHOLE_BYTES
    round_s = min(n_prompt, 512) / pp.value + _GENERATED / tg.value
    return file_bytes / _WRITTEN_AND_LOADED_BYTES_PER_S + _ROUNDS * round_s <= WHOLE_S
