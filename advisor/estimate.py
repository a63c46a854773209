"""One deployment, or many, estimated without ranking: what fits is for `recommend`, what it is for here.

A request names a device, a model and a quantization, and may fix every setting. A batch is a stream of such
requests as JSON lines: a line in gives a line out with the same `id`, a bad line gives an error line, and the
rest go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

import msgspec

from advisor.candidates import memory_of, memory_shortfalls
from advisor.catalog import Model, Variant, load_catalog
from advisor.deployment_speed import deployment_speed
from advisor.errors import AdvisorError, InvalidInputError, NotEnoughEvidenceError
from advisor.evidence import Value
from advisor.measured_speed import known_speeds_of
from advisor.memory import KV_TYPES, MemoryEstimate, Settings, kv_type_problem
from advisor.search import COMFORT
from advisor.speed import Load, load_of, with_backend
from advisor.target import Place, Target, make_target
from advisor.workload import MAX_CONTEXT, make_workload
from profiles.device import Backend
from profiles.errors import ProfilesError
from profiles.resolve import resolve_device
from quantize.architecture import Architecture
from quantize.errors import QuantizeError
from quantize.types import parse_preset

MAX_LINE_BYTES = 1 << 20
MAX_PREPARED = 20_000  # lookups kept; past that a batch starts afresh rather than grow without end
BATCH_CONTEXT = 4096


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a batch. Unset fields take the defaults of llama-bench: a prompt of 512 tokens, 128 generated."""

    model: str
    quant: str
    id: str | int | float | None = None
    device: str | dict[str, Any] | None = None
    context_length: int | None = None
    backend: str | None = None
    threads: int | None = None
    n_prompt: int | None = None
    n_gen: int | None = None
    depth: int | None = None
    type_k: str | None = None
    type_v: str | None = None
    micro_batch: int | None = None
    offload_layers: int | None = None


def choose_place(target: Target, backend: str | None) -> Place:
    """The place to run: the best one, or the one a backend names.

    An accelerator can be driven through another backend than the one its library entry gives (Vulkan on an NVIDIA
    card, Hexagon beside Adreno on a phone). Raises InvalidInputError for a backend the device has nothing for.
    """
    if backend is None:
        return target.usable_places[0]
    try:
        wanted = msgspec.convert(backend, Backend)
    except msgspec.ValidationError:
        choices = ", ".join(get_args(Backend))
        raise InvalidInputError(f"backend '{backend}' is unknown; choose one of {choices}") from None
    for place in target.places:
        if place.processor.backend == wanted:
            return place
    if wanted != "cpu":
        for place in target.places:
            if place.processor.accelerator is not None:
                return msgspec.structs.replace(place, processor=with_backend(place.processor, wanted))
    raise InvalidInputError(
        f"'{target.device.name or 'the device'}' has no accelerator for backend '{backend}'; "
        f"it has {', '.join(place.processor.backend for place in target.places)}"
    )


def make_settings(
    place: Place,
    model: Model,
    *,
    context_length: int,
    type_k: str | None = None,
    type_v: str | None = None,
    micro_batch: int | None = None,
    offload_layers: int | None = None,
    threads: int | None = None,
) -> Settings:
    """Settings with what was not given filled in: all layers on an accelerator, none on a CPU.

    Raises InvalidInputError naming the value that is out of range.
    """
    if model.architecture is None:
        raise NotEnoughEvidenceError(f"{model.name}: {model.unsupported or 'its tensors are not known'}")
    most = model.architecture.n_layer + 1
    if place.processor.accelerator is None:
        if offload_layers:
            raise InvalidInputError(f"offload-layers {offload_layers}: there is no accelerator to offload to")
        offload_layers = 0
    kv_type, default_batch = COMFORT[0]
    type_k, type_v = (
        _kv_type(name, kv_type if given is None else given)
        for name, given in (("type-k", type_k), ("type-v", type_v))
    )
    problem = kv_type_problem(model.architecture, type_k, type_v)
    if problem is not None:
        raise InvalidInputError(f"{model.name} cannot have a KV cache of {type_k}/{type_v}: {problem}")
    return Settings(
        context_length=_within("context", context_length, context_length, 1, MAX_CONTEXT),
        type_k=type_k,
        type_v=type_v,
        micro_batch=_within("micro-batch", micro_batch, default_batch, 1, 65_536),
        offload_layers=min(_within("offload-layers", offload_layers, most, 0, 10_000), most),
        threads=_within("threads", threads, place.processor.threads, 1, 4096),
        threads_batch=place.processor.threads_batch if threads is None else None,
    )


class _StrictRow(Row, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row without a field that is not known."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a batch's output. `fits` is null where the device's memory is not known."""

    id: str | int | float | None
    device: str | None
    model: str
    quant: str
    backend: str
    threads: int | None
    pp_tokens_per_s: Value | None
    tg_tokens_per_s: Value | None
    ttft_s: Value | None
    file_bytes: int
    memory_bytes: Value
    host_bytes: int
    accelerator_bytes: int
    fits: bool | None
    assumptions: tuple[str, ...]
    ignored: tuple[str, ...] = ()  # fields of the row that mean nothing here


class ErrorLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a bad line gives; `error` says which value was wrong."""

    id: str | int | float | None
    error: str
    nearest: tuple[str, ...] = ()


def estimate_lines(lines: Iterable[bytes]) -> Iterator[Line | ErrorLine]:
    """Estimate a stream of JSON lines; blank lines are skipped. Nothing is raised for a bad line."""
    batch = _Batch()
    for line in lines:
        if line.strip():
            yield batch.answer(line)


class _Batch:
    """What rows have in common is looked up once: devices by their text, models, plans, memory estimates."""

    def __init__(self) -> None:
        self._catalog = load_catalog()
        self._targets: dict[str | bytes, Target] = {}
        self._prepared: dict[tuple[object, ...], _Prepared] = {}
        self._workload = make_workload()
        self._strict = msgspec.json.Decoder(_StrictRow)

    def answer(self, line: bytes) -> Line | ErrorLine:
        identity: str | int | float | None = None
        try:
            if len(line) > MAX_LINE_BYTES:
                raise InvalidInputError(f"the line is longer than the {MAX_LINE_BYTES} bytes allowed")
            row, ignored = self._read(line)
            identity = row.id
            answer = self._estimate(row)
            return msgspec.structs.replace(answer, ignored=ignored) if ignored else answer
        except (AdvisorError, ProfilesError, QuantizeError) as error:
            return ErrorLine(id=identity, error=str(error), nearest=tuple(getattr(error, "nearest", ())))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return ErrorLine(id=_identity_of(line), error=f"not a row: {error}")
        except Exception as error:  # a fault of ours that one row brings out must not cost the others
            return ErrorLine(id=identity, error=f"internal error: {type(error).__name__}: {error}")

    def _read(self, line: bytes) -> tuple[Row, tuple[str, ...]]:
        """A row, and the fields of it that mean nothing here: they are named in the answer, a typing error or not."""
        try:
            return self._strict.decode(line), ()
        except msgspec.ValidationError:
            row = msgspec.json.decode(line, type=Row)
            names = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            return row, tuple(sorted(names.keys() - set(Row.__struct_fields__)))

    def _estimate(self, row: Row) -> Line:
        n_prompt = _tokens("n_prompt", row.n_prompt, 512)
        n_gen = _tokens("n_gen", row.n_gen, 128)
        depth = _tokens("depth", row.depth, 0)
        context = row.context_length
        if context is None:  # one that holds all the tokens of the row
            context = max(BATCH_CONTEXT, -(-(depth + n_prompt + n_gen) // 1024) * 1024)
        prepared = self._prepare(row, context)
        speed = deployment_speed(
            prepared.architecture,
            prepared.load,
            prepared.variant.bytes_by_type,
            prepared.target,
            prepared.place,
            prepared.settings,
            n_prompt=n_prompt,
            n_gen=n_gen,
            depth=depth,
        )
        memory = prepared.memory
        return Line(
            id=row.id,
            device=prepared.target.device.name,
            model=prepared.model,
            quant=prepared.variant.quant,
            backend=prepared.place.processor.backend,
            threads=prepared.settings.threads,
            pp_tokens_per_s=None if speed is None else speed.pp,
            tg_tokens_per_s=None if speed is None else speed.tg,
            ttft_s=None if speed is None else speed.ttft_s,
            file_bytes=prepared.variant.file_bytes,
            memory_bytes=memory.reserved,
            host_bytes=memory.host_bytes,
            accelerator_bytes=memory.accelerator_bytes,
            fits=prepared.fits,
            assumptions=() if speed is None else speed.assumptions,
        )

    def _prepare(self, row: Row, context: int) -> _Prepared:
        key: str | bytes | None
        key = row.device if isinstance(row.device, str) else msgspec.json.encode(row.device)
        signature = (
            key,
            row.model,
            row.quant,
            row.backend,
            context,
            row.type_k,
            row.type_v,
            row.micro_batch,
            row.offload_layers,
            row.threads,
        )
        prepared = self._prepared.get(signature)
        if prepared is None:
            if len(self._prepared) >= MAX_PREPARED:
                self._prepared.clear()
            prepared = self._prepared[signature] = self._make(row, key, context)
        return prepared

    def _make(self, row: Row, key: str | bytes, context: int) -> _Prepared:
        model = self._catalog.find(row.model)
        variant = model.variant(parse_preset(row.quant))
        target = self._target(row.device, key)
        place = choose_place(target, row.backend)
        settings = make_settings(
            place,
            model,
            context_length=context,
            type_k=row.type_k,
            type_v=row.type_v,
            micro_batch=row.micro_batch,
            offload_layers=row.offload_layers,
            threads=row.threads,
        )
        assert model.architecture is not None
        memory = memory_of(model, variant, place, settings)
        known = target.host_bytes is not None or place.memory_bytes is not None
        return _Prepared(
            model=model.id,
            architecture=model.architecture,
            variant=variant,
            target=target,
            place=place,
            settings=settings,
            load=load_of(model, variant, settings.type_k, settings.type_v),
            memory=memory,
            fits=not any(memory_shortfalls(memory, target, place)) if known else None,
        )

    def _target(self, device: str | dict[str, Any] | None, key: str | bytes) -> Target:
        target = self._targets.get(key)
        if target is None:
            if len(self._targets) >= MAX_PREPARED:
                self._targets.clear()
            given = resolve_device(device)
            known = None if device is not None else known_speeds_of(given)
            target = make_target(given, self._workload, strict=False, known_speeds=known)
            self._targets[key] = target
        return target


class _Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """All of a row that does not depend on its token counts."""

    model: str
    architecture: Architecture
    variant: Variant
    target: Target
    place: Place
    settings: Settings
    load: Load
    memory: MemoryEstimate
    fits: bool | None


def _identity_of(line: bytes) -> str | int | float | None:
    """The id of a line that is no valid row, where it has one."""
    try:
        return msgspec.json.decode(line[:MAX_LINE_BYTES], type=_Identity).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class _Identity(msgspec.Struct):
    id: str | int | float | None = None


def _tokens(name: str, value: int | None, default: int) -> int:
    return _within(name, value, default, 0, MAX_CONTEXT)


def _within(name: str, value: int | None, default: int, low: int, high: int) -> int:
    if value is None:
        return default
    if not low <= value <= high:
        raise InvalidInputError(f"{name} {value} is out of range; it must be between {low} and {high}")
    return value


def _kv_type(name: str, text: str) -> str:
    kind = text.lower()
    if kind not in KV_TYPES:
        raise InvalidInputError(f"{name} '{text}' is no KV cache type; choose one of {', '.join(KV_TYPES)}")
    return kind
