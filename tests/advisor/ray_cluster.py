"""A Ray cluster on this machine for tests: its nodes are separate raylets, with one CPU and a small store each.

Run as a program (`python ray_cluster.py SETTINGS`), it starts one, says where, and takes it down when its standard
input closes: Ray leaves threads and settings behind in the process that starts a cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from advisor.errors import UnknownModelError

ROOT = Path(__file__).parents[2]
_STORE_BYTES = 80 << 20  # Ray's least is 75 MiB


class Cluster(msgspec.Struct, frozen=True):
    """Addresses, and for each node the process of its raylet, which is the parent of all that works there."""

    address: str
    client_address: str
    raylets: tuple[int, ...]

    def kill_node(self, number: int) -> None:
        """What a power cut does to a node: no process of it has time for anything."""
        raylet = psutil.Process(self.raylets[number])
        for process in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def kill(self) -> None:
        """The same for all nodes, and for what holds them together."""
        ray = psutil.Process(self.raylets[0]).parent()
        assert ray is not None
        for process in ray.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()


class Work(msgspec.Struct, frozen=True):
    """Work as a fleet has it: picklable, with settings. It writes down on which node it did what."""

    log: str
    seconds: float = 0.0
    repeat: int = 1
    held: str = ""  # until the file of this name is there, the chunk "held" is not answered

    def __call__(self, chunk: bytes) -> bytes:
        with Path(self.log).open("a") as log:
            log.write(f"{os.getppid()} {chunk.decode()}\n")
        if chunk == b"unknown":
            raise UnknownModelError("no such device", ("Pixel 9",))
        time.sleep(self.seconds)
        while chunk == b"held" and not Path(self.held).exists():
            time.sleep(0.05)
        return answer(chunk, self.repeat)

    def done(self) -> list[tuple[int, bytes]]:
        """The raylet and the chunk, of each start of the work."""
        lines = Path(self.log).read_text().splitlines() if Path(self.log).exists() else []
        return [(int(raylet), chunk.encode()) for raylet, chunk in (line.split(" ", 1) for line in lines)]


def answer(chunk: bytes, repeat: int = 1) -> bytes:
    return chunk.upper() * repeat


def end_the_process(chunk: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return chunk


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.05)


@contextmanager
def started(*cpus: int, second_path: str = "") -> Iterator[Cluster]:
    """A cluster with a node for each of `cpus`. second_path: where Python looks first on all nodes but the head."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the names of sockets may not be long
    (folder / "ray").mkdir()
    settings = json.dumps({"cpus": cpus, "second_path": second_path})
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        # The server for clients forks while it answers; with gRPC's handlers the new process hung one time in three.
        "GRPC_ENABLE_FORK_SUPPORT": "0",
    }
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, __file__, settings],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()[-2000:]
        yield msgspec.json.decode(line, type=Cluster)
    finally:
        process.communicate(timeout=60)
        left = [each for each in psutil.process_iter() if _belongs(each, folder)]
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, 10)
        shutil.rmtree(folder, ignore_errors=True)


def _belongs(process: psutil.Process, folder: Path) -> bool:
    try:  # agents and workers rename themselves, but keep their environment and open files
        return str(folder) in " ".join(process.cmdline()) or any(
            str(folder) in file.path for file in process.open_files()
        )
    except psutil.Error:
        return False


def _run(cpus: list[int], second_path: str) -> None:
    import socket

    from ray.cluster_utils import Cluster as RayCluster

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
    cluster = RayCluster()
    for number, each in enumerate(cpus):
        special = (
            {"env_vars": {"PYTHONPATH": f"{second_path}:{ROOT}"}}
            if number
            else {"ray_client_server_port": port}
        )
        cluster.add_node(num_cpus=each, **common, **special)
    nodes = [cluster.head_node, *cluster.worker_nodes] if cluster.worker_nodes else [cluster.head_node]
    raylets = tuple(node.all_processes["raylet"][0].process.pid for node in nodes)
    where = Cluster(cluster.address, f"ray://127.0.0.1:{port}", raylets)
    answers.write(msgspec.json.encode(where).decode() + "\n")
    answers.flush()
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    _run(**json.loads(sys.argv[1]))
