"""The process that talks to a Ray cluster, and what runs on the cluster's nodes for it.

A chunk that comes in becomes a task at once; its answer goes out when those of all before it have. Ray does the tasks
of a lost node again, and computes anew the answers that were kept there.

It ends when its parent closes the connection, dead or alive, in the middle of waiting too, and Ray then ends the tasks
it has not finished. The cluster itself, which belongs to somebody else, goes on.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Literal

import msgspec

_RETRIES = (
    5  # of a task whose node or process was lost; one that ends its process each time must come to an end
)
_CHUNKS_A_CPU = 4
_LOOK_S = 10.0  # between two looks at how large the cluster is


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The first message: what is to be done, and where."""

    address: str
    work: bytes  # pickled
    identity: str
    in_flight: int | None
    empty_s: float  # how long a cluster may be without any CPU


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The cluster is there; `room` chunks may be on their way."""

    room: int


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """The answer to the next chunk."""

    content: bytes


class Raised(msgspec.Struct, frozen=True, tag="raised"):
    """The exception, pickled, that the work on the next chunk ended with."""

    error: bytes


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """There will be no more answers. missing: something is not installed on a node."""

    kind: Literal["cluster", "missing"]
    message: str


Reply = Ready | Answered | Raised | Failed


@functools.cache
def identity() -> str:
    """What must be the same on two machines for their answers to be: the program, the catalog, the user's models."""
    from advisor.catalog import catalog_version
    from advisor.cli.output import tool_version
    from advisor.user_catalog import user_files

    text = f"slm-advisor {tool_version()}, catalog {catalog_version()}"
    if files := user_files():
        contents = b"\0".join(path.read_bytes() for path in files)
        text += f", models of its own {hashlib.sha256(contents).hexdigest()[:8]}"
    return text


def answer(theirs: str, work: bytes, chunk: bytes) -> bytes:
    """Do the work on one chunk, on whichever node this is; the encoded `Reply`.

    What goes wrong is an answer too, lest Ray wrap it or take it for a reason to try again.
    """
    if theirs != (ours := identity()):
        problem = f"{os.uname().nodename} has {ours}, and here is {theirs}; install the same on both"
        return msgspec.msgpack.encode(Failed("missing", problem))
    try:
        return msgspec.msgpack.encode(Answered(_unpickled(work)(chunk)))
    except Exception as error:
        return msgspec.msgpack.encode(Raised(_portable(error)))


@functools.lru_cache(maxsize=1)
def _unpickled(work: bytes) -> Callable[[bytes], bytes]:
    function: Callable[[bytes], bytes] = pickle.loads(work)
    return function


def _portable(error: Exception) -> bytes:
    """The exception pickled, with the place it comes from; as text where it is one that does not survive that."""
    error.add_note(f"on node {os.uname().nodename}:\n{traceback.format_exc()}")
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception:
        from advisor.errors import AdvisorError

        return pickle.dumps(AdvisorError(f"{type(error).__name__}: {error}"))
    return pickled


def main(handle: int) -> None:
    """Connect, and answer chunks until the connection at the file descriptor `handle` closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    connection = Connection(handle)
    setup = msgspec.msgpack.decode(connection.recv_bytes(), type=Setup)
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.send_bytes(msgspec.msgpack.encode(_serve(connection, setup)))
    _leave()


def _serve(connection: Connection, setup: Setup) -> Failed:
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError as error:
        return Failed("missing", f"Ray cannot be loaded: {error}; pip install 'slm-advisor[ray]'")
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    try:
        ray.init(setup.address, log_to_driver=False, logging_level=logging.CRITICAL)
        cluster = _Cluster(ray, connection, setup)
        submit = functools.partial(
            ray.remote(max_retries=_RETRIES)(answer).remote, setup.identity, setup.work
        )
        threading.Thread(target=_submit, args=(connection, submit, tasks), daemon=True).start()
        while True:
            task = tasks.get()
            if isinstance(task, Exception):
                raise task
            while not ray.wait([task], timeout=_LOOK_S)[0]:
                cluster.look()
            cluster.look()
            connection.send_bytes(ray.get(task))
    except RayTaskError as error:  # not from the work, so from loading this module there
        words = str(error).strip().rpartition("\n")[2]
        return Failed("missing", f"a node cannot load slm-advisor: {words}; install {setup.identity} there")
    except (RayError, RuntimeError, ValueError, OSError, ImportError) as error:
        return Failed("cluster", f"{type(error).__name__}: {error}")


def _submit(connection: Connection, submit: Callable[[bytes], Any], tasks: queue.SimpleQueue[Any]) -> None:
    """Make tasks of chunks as they come, so that the parent never waits to be read while it is waited for."""
    with suppress(EOFError):
        while True:
            chunk = connection.recv_bytes()
            try:
                tasks.put(submit(chunk))
            except Exception as error:
                tasks.put(error)
    _leave()


def _leave() -> None:
    """Say goodbye to the cluster and end this process, whatever its other threads wait for."""
    with suppress(Exception):
        import ray

        ray.shutdown()
    os._exit(0)


class _Cluster:
    """How many chunks the cluster has room for, as nodes come and go."""

    def __init__(self, ray: Any, connection: Connection, setup: Setup) -> None:
        self._ray, self._connection, self._setup = ray, connection, setup
        self._looked = self._alive = time.monotonic()
        self._room = 0
        self.look(at_once=True)

    def look(self, *, at_once: bool = False) -> None:
        """Tell the parent, now and then; raises RuntimeError for a cluster that has been empty for too long."""
        now = time.monotonic()
        if not at_once and now - self._looked < _LOOK_S:
            return
        self._looked = now
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if cpus:
            self._alive = now
        elif now - self._alive > self._setup.empty_s:
            raise RuntimeError(f"none of its nodes has had a CPU for {self._setup.empty_s:g} s")
        room = self._setup.in_flight or _CHUNKS_A_CPU * max(cpus, 1)
        if room != self._room:
            self._room = room
            self._connection.send_bytes(msgspec.msgpack.encode(Ready(room)))
