"""Ranking the whole catalog in a thread, the newest question first: older ones that still wait are dropped."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from textual.message import Message

from advisor.errors import AdvisorError
from advisor.need import Need, workload_of
from advisor.sentences import translated
from advisor.tui.messages import Ranked, RankingFailed
from advisor.tui.state import Found, Problem, Ranking, RuledOut

if TYPE_CHECKING:
    from advisor.catalog import Model

    Models: TypeAlias = tuple[Model, ...] | None

Start = Callable[[Callable[[], None]], object]
Post = Callable[[Message], object]

_ALL = 100_000  # rows: every model that fits is shown


class Ranker:
    """One thread at a time that answers the newest question; `start` begins a thread, `post` takes its answers."""

    def __init__(self, start: Start, post: Post, models: Models = None) -> None:
        self._start, self._post, self._models = start, post, models
        self._lock = threading.Lock()
        self._waiting: tuple[Found, Need] | None = None
        self._running = False
        self._settled = False

    def ask(self, found: Found, need: Need) -> None:
        """Rank for this device and need, in place of what was asked before."""
        with self._lock:
            self._waiting = (found, need)
            if self._running:
                return
            self._running = True
        self._start(self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                question, self._waiting = self._waiting, None
                if question is None:
                    self._running = False
                    return
            answer = _answer(*question, self._models)
            if not self._settled:
                self._settled = True
                # The catalog stays for good: looking through it for garbage held up key presses by up to 0.1 s.
                gc.freeze()
            with self._lock:
                outdated = self._waiting is not None
            if not outdated:
                self._post(answer)


def _answer(found: Found, need: Need, models: Models) -> Message:
    try:
        return Ranked(rank(found, need, models))
    except AdvisorError as error:
        return RankingFailed(Problem(translated(str(error))))


def rank(found: Found, need: Need, models: Models = None) -> Ranking:
    """As `slm-advisor recommend` does it, of these models or the catalog's. Raises AdvisorError."""
    from advisor.catalog import load_catalog
    from advisor.explain import describe
    from advisor.recommend import recommend
    from advisor.report.view import recommendation_document
    from advisor.target import make_target

    workload = workload_of(need)
    target = make_target(found.device, workload, known_speeds=found.known)
    result = recommend(load_catalog().models if models is None else models, target, workload)
    document = recommendation_document(result, target, workload, top=_ALL)
    return Ranking(
        need=need,
        found=found,
        workload=workload,
        target=target,
        device=document.device,
        result=result,
        rows=document.recommendations,
        ruled_out=tuple(
            RuledOut(
                each.model.id,
                each.model.name,
                tuple(describe(shortfall) for shortfall in each.shortfalls),
                each.shortfalls[0].constraint,
            )
            for each in result.excluded
        ),
        counts=document.ruled_out,
        notes=document.notes,
    )


def count(found: Found, need: Need, models: Models = None) -> int | None:
    """How many models would remain; None where the need cannot be met as it is written."""
    from advisor.catalog import load_catalog
    from advisor.recommend import recommend
    from advisor.target import make_target

    try:
        workload = workload_of(need)
        target = make_target(found.device, workload, known_speeds=found.known)
        return len(recommend(load_catalog().models if models is None else models, target, workload).ranked)
    except AdvisorError:
        return None
