"""What crosses the pipe between `client` and `worker`: one JSON document a line, each way.

Sizes are in bytes. Tensor types and file types travel as the engine's own numbers (`ggml_type`,
`llama_ftype`), so that this package needs no table of them; names come back as the engine spells them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FlashAttention = Literal["auto", "on", "off"]


class Describe(msgspec.Struct, frozen=True, tag=True):
    """Which engine is this?"""


class EngineVersion(msgspec.Struct, frozen=True, tag=True):
    """`package` is llama-cpp-python's version, `ggml` and `commit` what the library says of itself."""

    package: str
    ggml: str | None = None
    commit: str | None = None
    features: str = ""  # the engine's line on what it was compiled with


class QuantizeDryRun(msgspec.Struct, frozen=True, tag=True):
    """Which type would each tensor of the GGUF at `path` get under `ftype`? Nothing is written.

    Some mixtures depend on whether there is an importance matrix, not on what is in it: `imatrix` says so.
    """

    path: str
    ftype: int
    imatrix: bool = False


class TensorPlan(msgspec.Struct, frozen=True, array_like=True):
    """One tensor of the quantized file."""

    name: str
    type: str  # the engine's name: "f32", "q4_K", "iq2_xxs"
    bytes: int


class QuantizePlan(msgspec.Struct, frozen=True, tag=True):
    """Every tensor of the quantized file, in the engine's order."""

    tensors: tuple[TensorPlan, ...]


class MemoryQuestion(msgspec.Struct, frozen=True, tag=True):
    """What would the engine allocate for this model and context? Nothing is allocated.

    `n_outputs` is how many rows of logits a micro-batch can ask for: None, the engine's default, means all.
    """

    path: str
    n_ctx: int
    n_ubatch: int = 512
    n_batch: int = 2048
    type_k: int = 1
    type_v: int = 1
    flash_attention: FlashAttention = "auto"
    n_parallel: int = 1
    n_outputs: int | None = None


class CachePart(msgspec.Struct, frozen=True, array_like=True):
    """One KV cache of a context: sliding-window models have two.

    The engine prints mebibytes with two decimals, so the byte counts are within 5,243 of the truth.
    """

    cells: int
    layers: int
    k_bytes: int
    v_bytes: int


class StatePart(msgspec.Struct, frozen=True, array_like=True):
    """The recurrent state of a context, all layers together, as precise as `CachePart`."""

    cells: int
    layers: int
    conv_bytes: int
    state_bytes: int


class MemoryReport(msgspec.Struct, frozen=True, tag=True):
    """What the engine says it would allocate; `compute` maps a buffer type ("CPU") to bytes."""

    caches: tuple[CachePart, ...]
    states: tuple[StatePart, ...]
    compute: dict[str, int]
    output_bytes: int
    flash_attention: bool

    @property
    def kv_cache_bytes(self) -> int:
        return sum(part.k_bytes + part.v_bytes for part in self.caches)

    @property
    def state_bytes(self) -> int:
        return sum(part.conv_bytes + part.state_bytes for part in self.states)

    @property
    def compute_bytes(self) -> int:
        return sum(self.compute.values())


class EngineFailure(msgspec.Struct, frozen=True, tag=True):
    """The engine could not answer. A value, not an exception: callers decide what a failure means to them.

    `refused`: the engine said no and is well. `crashed`: it ended itself (a failed assertion). `killed`: the
    system ended it, most often for want of memory. `timeout`: it took too long and was ended. `missing`:
    llama-cpp-python is not installed.
    """

    kind: Literal["missing", "refused", "crashed", "killed", "timeout"]
    message: str
    last_words: str = ""


Request = Describe | QuantizeDryRun | MemoryQuestion
Reply = EngineVersion | QuantizePlan | MemoryReport | EngineFailure
