"""The decision for the devices of a chunk: bytes in, bytes out, so that it runs in any process or on any node.

Two questions are asked of every device: which deployments are best there, and, once those of all devices are known,
how each of them would do.
"""

from __future__ import annotations

import datetime
from array import array
from functools import lru_cache

import msgspec

from advisor.candidates import Candidate
from advisor.catalog import load_catalog
from advisor.errors import AdvisorError
from advisor.evidence import Value
from advisor.explain import describe
from advisor.fleet.devices import BadLineError, Identity, device_of, numbered_lines, read_line
from advisor.policy import Policy
from advisor.recommend import Recommender
from advisor.ruling import Ruling
from advisor.search import Choice, candidates, nearest
from advisor.target import make_target
from advisor.workload import Workload

File = tuple[str, str]
"""A model's id and a quantization: what is shipped to a device. How it is run there is the device's own."""

NOT_THERE = float("-inf")
"""Score of a file on a device that it does not fit."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of every device; `policy` with the day it is held against."""

    workload: Workload
    top: int = 10
    policy: Policy | None = None
    today: datetime.date | None = None


class FleetRecommendation(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment on a device of a fleet, with its estimates; what it is called as in `recommend`."""

    model: str
    name: str
    quant: str
    file_bytes: int
    backend: str
    context_length: int
    type_k: str
    type_v: str
    micro_batch: int
    offload_layers: int
    threads: int | None
    memory_bytes: Value
    pp_tokens_per_s: Value | None
    tg_tokens_per_s: Value | None
    ttft_s: Value | None
    quality: float | None
    score: float | None


class FleetDevice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a line: recommendations, best first, or why there are none; `error` where it is no device."""

    line: int
    id: Identity = None
    device: str | None = None
    recommendations: tuple[FleetRecommendation, ...] = ()
    nearest_miss: str | None = None
    error: str | None = None
    nearest: tuple[str, ...] = ()


def recommend_chunk(question: Question, chunk: bytes) -> bytes:
    """The answers to the lines of a chunk: msgpack of `tuple[FleetDevice, ...]`. Nothing is raised for a bad line."""
    answers = []
    for number, line in numbered_lines(chunk):
        try:
            identity, text = read_line(line)
        except BadLineError as error:
            answers.append(FleetDevice(line=number, id=error.identity, error=str(error)))
            continue
        try:
            answer = _answer(msgspec.msgpack.encode(question), bytes(text))
        except Exception as error:  # a fault of ours that one device brings out must not cost the others
            answer = FleetDevice(line=number, error=f"internal error: {type(error).__name__}: {error}")
        answers.append(msgspec.structs.replace(answer, line=number, id=identity))
    return msgspec.msgpack.encode(answers)


def score_chunk(question: Question, files: tuple[File, ...], chunk: bytes) -> bytes:
    """How each of `files` would do on each device of a chunk: msgpack of a tuple of rows of float32, a score a file.

    Lines that are no device are left out.
    """
    rows = []
    for _, line in numbered_lines(chunk):
        try:
            _, text = read_line(line)
            rows.append(_scores(msgspec.msgpack.encode(question), files, bytes(text)))
        except Exception:  # `recommend_chunk` has said so
            continue
    return msgspec.msgpack.encode(rows)


@lru_cache(maxsize=1)
def _recommender(question: bytes) -> tuple[Question, Recommender]:
    asked = msgspec.msgpack.decode(question, type=Question)
    ruling = None if asked.policy is None or asked.today is None else Ruling(asked.policy, asked.today)
    return asked, Recommender(load_catalog().models, asked.workload, ruling=ruling)


@lru_cache(maxsize=4096)
def _answer(question: bytes, device: bytes) -> FleetDevice:
    asked, recommender = _recommender(question)
    try:
        found = device_of(device)
        target = make_target(found, asked.workload)
    except BadLineError as error:
        return FleetDevice(line=0, error=str(error), nearest=error.nearest)
    except AdvisorError as error:
        return FleetDevice(line=0, error=str(error))
    ranked = recommender.ranked(target, asked.top)
    miss = None
    if not ranked:
        smallest = recommender.smallest()
        missing = None if smallest is None else nearest(smallest, target)
        if missing is not None:
            lacks = "; ".join(describe(shortfall) for shortfall in missing.shortfalls)
            miss = f"{missing.model.name}:{missing.variant.quant}: {lacks}"
    return FleetDevice(
        line=0,
        device=found.name,
        recommendations=tuple(_recommendation(candidate) for candidate in ranked),
        nearest_miss=miss,
    )


@lru_cache(maxsize=4096)
def _scores(question: bytes, files: tuple[File, ...], device: bytes) -> bytes:
    asked, _ = _recommender(question)
    target = make_target(device_of(device), asked.workload)
    row = array("f")
    for choice in _choices(question, files):
        fitting = [_score(each) for each in candidates(choice, target) if each.feasible]
        row.append(max(fitting, default=NOT_THERE))
    return row.tobytes()


@lru_cache(maxsize=1)
def _choices(question: bytes, files: tuple[File, ...]) -> tuple[Choice, ...]:
    asked, _ = _recommender(question)
    models = {model.id: model for model in load_catalog().models}
    return tuple(Choice(models[name], models[name].variant(quant), asked.workload) for name, quant in files)


def _score(candidate: Candidate) -> float:
    """The score; of a model that nobody scored what is left without a quality."""
    total = candidate.score.total
    return total if total is not None else candidate.score.speed + candidate.score.memory


def _recommendation(candidate: Candidate) -> FleetRecommendation:
    settings, speed = candidate.settings, candidate.speed
    return FleetRecommendation(
        model=candidate.model.id,
        name=candidate.model.name,
        quant=candidate.variant.quant,
        file_bytes=candidate.variant.file_bytes,
        backend=candidate.place.processor.backend,
        context_length=settings.context_length,
        type_k=settings.type_k,
        type_v=settings.type_v,
        micro_batch=settings.micro_batch,
        offload_layers=settings.offload_layers,
        threads=settings.threads,
        memory_bytes=candidate.memory.reserved,
        pp_tokens_per_s=None if speed is None else speed.pp,
        tg_tokens_per_s=None if speed is None else speed.tg,
        ttft_s=None if speed is None else speed.ttft_s,
        quality=candidate.quality.value,
        score=candidate.score.total,
    )
