"""Work on the processors of this machine: chunks go out, their answers come back in the same order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice

from advisor.errors import ClusterError

_AHEAD = 4  # chunks for each process that are on their way


def map_on_processes(work: Callable[[bytes], bytes], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """`map(work, chunks)`, a process for each processor that this one may use: each chunk answered once, in order.

    chunks are read no further ahead than keeps the processes busy. A single chunk is answered here. Raises
    ClusterError if a process is ended from outside, and what `work` raises.
    """
    chunks = iter(chunks)
    head = tuple(islice(chunks, 2))
    count = _processors()
    if len(head) < 2 or count == 1:
        yield from map(work, chain(head, chunks))
        return
    # Fresh processes: a copy of one that has threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_leave_ctrl_c_to_the_parent)
    waiting: deque[Future[bytes]] = deque()
    answered = 0
    try:
        for chunk in chain(head, chunks):
            waiting.append(pool.submit(work, chunk))
            while waiting and (len(waiting) >= count * _AHEAD or waiting[0].done()):
                yield waiting.popleft().result()
                answered += 1
        while waiting:
            yield waiting.popleft().result()
            answered += 1
    except BrokenProcessPool as error:
        raise ClusterError(
            f"a process that answered devices was ended from outside, after {answered} chunks of answers: is there "
            "enough memory? 'taskset -c 0 slm-advisor …' runs with one process"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
