"""What leaves the program: the structs behind every JSON document, and so behind every schema.

Field names are API. Every document that is printed begins with the envelope of `advisor.cli.output`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from advisor.candidates import Constraint
from advisor.confirm import Confirmation
from advisor.evidence import Origin, Value
from advisor.workload import Workload


class SettingsView(msgspec.Struct, frozen=True, kw_only=True):
    context_length: int
    type_k: str
    type_v: str
    micro_batch: int
    offload_layers: int  # of n_layer + 1: the blocks and the output head
    n_layer: int
    threads: int | None
    threads_batch: int | None  # for processing prompts; null: as `threads`


class MemoryView(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes. `reserved` is what the engine allocates, `resident` what becomes resident in use."""

    reserved_bytes: Value
    resident_bytes: Value
    host_bytes: int
    accelerator_bytes: int
    host_budget_bytes: int | None
    accelerator_budget_bytes: int | None
    terms: dict[str, int]


class LossView(msgspec.Struct, frozen=True, kw_only=True):
    """What quantization costs, in points of quality."""

    points: float
    low: float
    high: float


class QualityView(msgspec.Struct, frozen=True, kw_only=True):
    """Points on the general scale (0-100); null where no score is published."""

    value: float | None
    low: float | None
    high: float | None
    axes: dict[str, float]
    quantization_loss: LossView | None
    sources: tuple[str, ...]
    notes: tuple[str, ...]


class ScoreView(msgspec.Struct, frozen=True, kw_only=True):
    total: float | None
    quality: float | None
    caution: float | None
    speed: float
    memory: float


class ShortfallView(msgspec.Struct, frozen=True, kw_only=True):
    constraint: Constraint
    needed: int | float | str | None
    available: int | float | str | None
    message: str


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment with every estimate and its terms."""

    rank: int | None
    model: str
    name: str
    family: str
    parameters: int
    parameters_active: int | None
    quant: str
    file_bytes: int
    bits_per_weight: float
    needs_imatrix: bool
    backend: str
    processor: str | None
    settings: SettingsView
    memory: MemoryView
    pp_tokens_per_s: Value | None
    tg_tokens_per_s: Value | None
    ttft_s: Value | None
    speed_terms: dict[str, float]
    measurements: tuple[Origin, ...]  # that the speeds rest on; empty where nothing was run here
    quality: QualityView
    score: ScoreView
    pareto: bool | None
    license: str | None
    license_class: str | None
    gated: bool | None
    weights: str | None
    gguf_repos: tuple[str, ...]
    ollama: str | None
    shortfalls: tuple[ShortfallView, ...]
    why: tuple[str, ...]


class DeviceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The device as the answer used it."""

    name: str | None
    class_: str | None = msgspec.field(name="class")
    processors: tuple[str, ...]
    budget: Literal["now", "cleared", "given"]
    host_budget_bytes: int | None
    budget_now_bytes: int | None
    budget_cleared_bytes: int | None
    accelerator_budget_bytes: int | None  # of the accelerator that is tried first; null on a CPU
    accelerator_shares_memory: bool  # its budget is a part of the host's


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """A single change that would let a deployment in; `value` in the unit of what is changed."""

    change: str
    value: float | str
    message: str


class ExcludedView(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    name: str
    shortfalls: tuple[ShortfallView, ...]


class MissView(msgspec.Struct, frozen=True, kw_only=True):
    deployment: DeploymentView
    changes: tuple[ChangeView, ...]
    together: tuple[ChangeView, ...]


class RecommendationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`recommend`: the list, how many models each constraint ruled out, and the nearest misses."""

    device: DeviceSummary
    workload: Workload
    recommendations: tuple[DeploymentView, ...]
    considered: int
    fitting: int
    ruled_out: dict[str, int]
    nearest_misses: tuple[MissView, ...]
    confirmations: tuple[Confirmation, ...]  # what --confirm ran, in order
    notes: tuple[str, ...]


class VariantVerdict(msgspec.Struct, frozen=True, kw_only=True):
    quant: str
    bits_per_weight: float
    file_bytes: int
    fits: bool
    memory_bytes: int | None
    tg_tokens_per_s: Value | None
    quality: float | None
    shortfalls: tuple[ShortfallView, ...]


class ExplanationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`explain`: what binds, what would help, and how each quantization of the model fares."""

    device: DeviceSummary
    workload: Workload
    model: str
    name: str
    quant: str | None
    fits: bool
    summary: str
    deployment: DeploymentView | None
    shortfalls: tuple[ShortfallView, ...]
    changes: tuple[ChangeView, ...]  # each suffices alone
    together: tuple[ChangeView, ...]  # where none does: all of these at once
    variants: tuple[VariantVerdict, ...]
    notes: tuple[str, ...]


class EstimateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`estimate`: one deployment, with all its terms."""

    device: DeviceSummary
    deployment: DeploymentView
    notes: tuple[str, ...]


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    exit_code: int
    message: str
    nearest: tuple[str, ...]


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What every command prints on stdout when it fails under `--json`."""

    error: ErrorBody
