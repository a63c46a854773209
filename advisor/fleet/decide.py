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
from advisor.evidence import Value
from advisor.explain import describe
from advisor.fleet.devices import Answer, answers, device_of
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


class FleetDevice(Answer, frozen=True, kw_only=True):
    """The answer for a device: recommendations, best first, or what the smallest model there is lacks."""

    recommendations: tuple[FleetRecommendation, ...] = ()
    nearest_miss: str | None = None


class _Scores(Answer, frozen=True, kw_only=True):
    row: bytes = b""


def recommend_chunk(question: Question, chunk: bytes) -> bytes:
    """The answers to the lines of a chunk: msgpack of `tuple[FleetDevice, ...]`. Nothing is raised for a bad line."""
    asked = msgspec.msgpack.encode(question)
    return msgspec.msgpack.encode(answers(chunk, FleetDevice, lambda device: _answer(asked, device)))


def score_chunk(question: Question, files: tuple[File, ...], chunk: bytes) -> bytes:
    """How each of `files` would do on each device of a chunk: msgpack of a tuple of rows of float32, a score a file.

    Lines that are no device are left out.
    """
    asked = msgspec.msgpack.encode(question)
    rows = answers(chunk, _Scores, lambda device: _scores(asked, files, device))
    return msgspec.msgpack.encode([answer.row for answer in rows if answer.error is None])


@lru_cache(maxsize=1)
def _recommender(question: bytes) -> tuple[Question, Recommender]:
    asked = msgspec.msgpack.decode(question, type=Question)
    ruling = None if asked.policy is None or asked.today is None else Ruling(asked.policy, asked.today)
    return asked, Recommender(load_catalog().models, asked.workload, ruling=ruling)


@lru_cache(maxsize=4096)
def _answer(question: bytes, device: bytes) -> FleetDevice:
    asked, recommender = _recommender(question)
    found = device_of(device)
    target = make_target(found, asked.workload)
    ranked = recommender.ranked(target, asked.top)
    miss = None
    if not ranked and (smallest := recommender.smallest()) and (missing := nearest(smallest, target)):
        lacks = "; ".join(describe(shortfall) for shortfall in missing.shortfalls)
        miss = f"{missing.model.name}:{missing.variant.quant}: {lacks}"
    return FleetDevice(
        device=found.name,
        recommendations=tuple(_recommendation(candidate) for candidate in ranked),
        nearest_miss=miss,
    )


@lru_cache(maxsize=4096)
def _scores(question: bytes, files: tuple[File, ...], device: bytes) -> _Scores:
    asked, _ = _recommender(question)
    target = make_target(device_of(device), asked.workload)
    row = array("f")
    for choice in _choices(question, files):
        fitting = [_score(each) for each in candidates(choice, target) if each.feasible]
        row.append(max(fitting, default=NOT_THERE))
    return _Scores(row=row.tobytes())


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
