"""Work on the nodes of a Ray cluster: chunks go out, their answers come back in the same order.

    for answers in map_on_ray("ray://head:10001", work, chunks): ...

What talks to Ray is a child process (`advisor.fleet.ray_driver`): a program that has connected to a cluster is ended
by Ray when that cluster is lost, waits for minutes for one that is not there, and has Ray's messages among its own
output. Here, each of these is an error; and ending the child takes back all that it has asked of the cluster.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing import Pipe
from urllib.parse import urlsplit

import msgspec

from advisor.errors import ClusterError, ComponentMissingError, InvalidInputError
from advisor.fleet.ray_driver import Answered, Failed, Raised, Ready, Reply, Setup, identity
from profiles.offline import no_network

Work = Callable[[bytes], bytes]
"""What is done with a chunk. It is pickled: a module-level function, a partial of one, or a struct with `__call__`."""

CONNECT_S = 30.0  # for the cluster to let us in; where it is there, it takes under a second
EMPTY_S = (
    300.0  # without a single CPU in the cluster; one that grows on demand may take minutes for its first
)
_KNOCK_S = 5.0
_LEAVE_S = 5.0  # for the child to say goodbye to the cluster
_LAST_WORDS_BYTES = 4000
_DRIVER = "from advisor.fleet.ray_driver import main; main({})"


def map_on_ray(
    address: str, work: Work, chunks: Iterable[bytes], *, in_flight: int | None = None
) -> Iterator[bytes]:
    """`map(work, chunks)`, on the cluster at `address`: each chunk answered once, in order.

    address: "ray://host:10001" from anywhere; "host:6379" or "auto" on a machine that is a node of the cluster.
    chunks: read one at a time, at most `in_flight` ahead of the answers (by default four for each CPU the cluster
    has). The nodes need the same versions of slm-advisor and its catalog. What a lost node was doing is done again on
    another; what `work` raises is raised here.

    Raises InvalidInputError (an address that is none), ComponentMissingError (no Ray here, or another slm-advisor on
    a node) and ClusterError (nobody answers, or the cluster is lost on the way; --offline).
    """
    _require_packages(address)
    if forbidden := no_network(f"asking the Ray cluster at '{address}'"):
        raise ClusterError(forbidden)
    _knock(address)
    setup = Setup(
        address=address,
        work=pickle.dumps(work),
        identity=identity(),
        in_flight=in_flight,
        empty_s=EMPTY_S,
    )
    return _stream(setup, chunks)


def _stream(setup: Setup, chunks: Iterable[bytes]) -> Iterator[bytes]:
    driver = _Driver(setup)
    try:
        driver.connect()
        asked = 0
        for chunk in chunks:
            driver.send(chunk)
            asked += 1
            # An answer that is there goes on at once: the next chunk may be long in coming.
            while driver.answered < asked and (asked - driver.answered >= driver.room or driver.has_reply()):
                yield driver.receive()
        while driver.answered < asked:
            yield driver.receive()
    finally:  # Ctrl-C, or a reader who has enough: what is still to do is dropped
        driver.close()


class _Driver:
    """The child process, and the two ends of what is said to it."""

    def __init__(self, setup: Setup) -> None:
        self.room = 1  # chunks that may be on their way
        self.answered = 0
        self._setup = setup
        self._decoder = msgspec.msgpack.Decoder(Reply)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                # -P and the root as working directory: Ray would import from the user's, here and on its nodes.
                [sys.executable, "-P", "-c", _DRIVER.format(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            )

    def connect(self) -> None:
        """Send what is to be done, and wait until the cluster has let us in."""
        self.send(msgspec.msgpack.encode(self._setup))
        if not self._connection.poll(CONNECT_S):
            advice = "check that this machine is one of its nodes; from any other, give 'ray://HOST:10001'"
            if self._setup.address.startswith(
                "ray://"
            ):  # ray-project/ray#63202: its server forks while it answers
                advice = (
                    "try again; where that happens often, start the head with GRPC_ENABLE_FORK_SUPPORT=0 set"
                )
            raise ClusterError(
                f"the Ray cluster at '{self._setup.address}' did not let us in within {CONNECT_S:g} s: {advice}"
            )
        self._read()

    def send(self, content: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # then there are last words to be read
            self._connection.send_bytes(content)

    def has_reply(self) -> bool:
        return self._connection.poll()

    def receive(self) -> bytes:
        """The answer to the next chunk."""
        while (answer := self._read()) is None:
            pass
        self.answered += 1
        return answer

    def _read(self) -> bytes | None:
        """An answer, or None for news of the cluster; raises what has gone wrong."""
        try:
            reply = self._decoder.decode(self._connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            reply = Failed("cluster", f"it is gone; Ray's last words: {self._last_words()}")
        if isinstance(reply, Answered):
            return reply.content
        if isinstance(reply, Ready):
            self.room = reply.room
            return None
        if isinstance(reply, Raised):
            raise pickle.loads(reply.error)
        done = f" (after the answers to {self.answered} chunks)" if self.answered else ""
        text = f"the Ray cluster at '{self._setup.address}' cannot go on{done}: {reply.message}"
        raise ComponentMissingError(text) if reply.kind == "missing" else ClusterError(text)

    def _last_words(self) -> str:
        self._process.wait(_LEAVE_S)
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "none")

    def close(self) -> None:
        """End the child, and with it all it has asked of the cluster."""
        self._connection.close()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LEAVE_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._stderr.close()


def _require_packages(address: str) -> None:
    # Ray's client for other machines needs one more.
    for package in ("ray", "grpc") if address.startswith("ray://") else ("ray",):
        if find_spec(package) is None:
            raise ComponentMissingError(
                f"a fleet on Ray needs the package '{package}': pip install 'slm-advisor[ray]'"
            )


def _knock(address: str) -> None:
    """Whether somebody listens at the address: Ray itself would try for minutes, and not say so."""
    if address == "auto":
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme not in ("", "ray"):
        raise InvalidInputError(
            f"'{address}' is no address of a Ray cluster: give HOST:6379, ray://HOST:10001 or auto"
        )
    try:
        socket.create_connection((host, port), _KNOCK_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at '{address}' ({error.strerror or error}): check the address, start one there "
            "with 'ray start --head', or leave --ray out to use the processors of this machine"
        ) from error
