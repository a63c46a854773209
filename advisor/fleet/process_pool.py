"""Work on the processors of this machine: chunks go out, their answers come back in the same order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
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
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_depend_on_the_parent)
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


def _depend_on_the_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it: one that is killed can tell nobody, and its pool waits for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
