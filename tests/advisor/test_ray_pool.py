"""A fleet on Ray: real clusters of real nodes, some of which do not live long."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from advisor.cli.main import exit_code, run
from advisor.errors import ClusterError, ComponentMissingError, InvalidInputError, UnknownModelError
from advisor.fleet import ray_pool
from advisor.fleet.ray_pool import map_on_ray
from tests.advisor import ray_cluster
from tests.advisor.ray_cluster import ROOT, Cluster, Work, answer, started, wait_until

needs_ray = pytest.mark.skipif(
    ray_pool.find_spec("ray") is None or ray_pool.find_spec("grpc") is None,
    reason="no Ray: pip install 'slm-advisor[ray]'",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes that all tests here share, none of which ends one."""
    with started(1, 1) as both:
        yield both


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(str(tmp_path / "log"), seconds=0.05)


def names(count: int) -> list[bytes]:
    return [b"device %d" % number for number in range(count)]


def drivers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "ray_driver" in " ".join(each.cmdline())]


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("way", ["as a node", "as a client"])
def test_both_nodes_answer_each_chunk_once_and_in_order(cluster: Cluster, work: Work, way: str) -> None:
    address = cluster.address if way == "as a node" else cluster.client_address
    assert list(map_on_ray(address, work, names(60))) == [answer(name) for name in names(60)]
    assert {raylet for raylet, _ in work.done()} == set(cluster.raylets)
    assert sorted(chunk for _, chunk in work.done()) == sorted(names(60))
    assert not drivers()


@needs_ray
@pytest.mark.slow
def test_of_endless_chunks_no_more_are_read_than_may_be_on_their_way(cluster: Cluster, work: Work) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"device %d" % (read - 1)

    answers = map_on_ray(cluster.address, work, endless(), in_flight=5)
    for number in range(40):
        assert next(answers) == answer(b"device %d" % number)
        assert read <= number + 5
    answers.close()  # type: ignore[attr-defined]
    assert not drivers()


@needs_ray
@pytest.mark.slow
def test_what_the_work_raises_is_raised_here_and_not_tried_again(cluster: Cluster, work: Work) -> None:
    answers = map_on_ray(cluster.address, work, [*names(3), b"unknown", *names(3)])
    assert [next(answers) for _ in range(3)] == [answer(name) for name in names(3)]
    with pytest.raises(UnknownModelError, match="no such device") as caught:
        next(answers)
    assert caught.value.nearest == ("Pixel 9",)
    assert "ray_cluster.py" in caught.value.__notes__[0]
    assert [chunk for _, chunk in work.done()].count(b"unknown") == 1


@needs_ray
@pytest.mark.slow
def test_work_that_ends_its_process_each_time_comes_to_an_end(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="WorkerCrashedError"):
        list(map_on_ray(cluster.address, ray_cluster.end_the_process, [b"once"]))
    assert list(map_on_ray(cluster.address, answer, names(2))) == [answer(name) for name in names(2)]


@needs_ray
@pytest.mark.slow
def test_a_killed_node_costs_no_answer(work: Work, tmp_path: Path) -> None:
    """Its unfinished chunk is done elsewhere, and its finished answers, too large to travel at once, are made anew."""
    release = tmp_path / "release"
    work = Work(work.log, seconds=0.1, repeat=20_000, held=str(release))
    lost: list[bytes] = []
    chunks = [b"held", *names(40)]

    def until_then() -> Iterator[bytes]:
        yield from chunks[:12]
        # The first holds one node up, and so the answers of the other wait there.
        wait_until(lambda: len(work.done()) >= 9)
        holder = next(raylet for raylet, chunk in work.done() if chunk == b"held")
        assert holder == cluster.raylets[0], "the driver's own node comes first"
        lost.extend(chunk for raylet, chunk in work.done() if raylet == cluster.raylets[1])
        cluster.kill_node(1)
        release.touch()
        yield from chunks[12:]

    with started(1, 1) as cluster:
        answers = list(map_on_ray(cluster.address, work, until_then(), in_flight=14))
    assert answers == [answer(chunk, 20_000) for chunk in chunks]
    assert len(lost) >= 8
    again = [chunk for raylet, chunk in work.done() if raylet == cluster.raylets[0]]
    assert set(again) == set(chunks)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("way", ["as a node", "as a client"])
def test_a_cluster_that_is_gone_is_an_error_with_what_was_done(
    work: Work, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
    with started(1, 1) as cluster:
        address = cluster.address if way == "as a node" else cluster.client_address
        answers = map_on_ray(address, work, names(10_000))
        for _ in range(10):
            next(answers)
        cluster.kill()
        with pytest.raises(ClusterError, match=r"after the answers to \d\d+ chunks") as caught:
            list(answers)
    assert exit_code(caught.value) == 6
    assert not drivers()
    told = capfd.readouterr()
    assert told.out + told.err == ""


@needs_ray
@pytest.mark.slow
def test_a_cluster_without_a_single_cpu_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "EMPTY_S", 5.0)
    with (
        started(0) as cluster,
        pytest.raises(ClusterError, match="none of its nodes has had a CPU for 5 s"),
    ):
        list(map_on_ray(cluster.address, answer, names(2)))


@needs_ray
@pytest.mark.slow
def test_a_node_with_another_version_is_refused_by_both_names(tmp_path: Path) -> None:
    other = tmp_path / "slm_advisor-9.9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: slm-advisor\nVersion: 9.9.9\n")
    both = r"has slm-advisor 9\.9\.9.* and here is slm-advisor 0"
    with (
        started(0, 1, second_path=str(tmp_path)) as cluster,
        pytest.raises(ComponentMissingError, match=both),
    ):
        list(map_on_ray(cluster.address, answer, names(2)))


@needs_ray
@pytest.mark.slow
def test_a_node_without_this_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "advisor").mkdir()
    (tmp_path / "advisor" / "__init__.py").touch()
    with (
        started(0, 1, second_path=str(tmp_path)) as cluster,
        pytest.raises(ComponentMissingError, match=r"cannot load slm-advisor.*advisor\.fleet"),
    ):
        list(map_on_ray(cluster.address, answer, names(2)))


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ended_on_the_way_it_leaves_no_work_behind_and_the_cluster_as_it_was(
    cluster: Cluster, work: Work, how: signal.Signals
) -> None:
    script = (
        "from tests.advisor.ray_cluster import Work, answer; from advisor.fleet.ray_pool import map_on_ray\n"
        f"list(map_on_ray({cluster.address!r}, Work({work.log!r}, 0.3), (b'%d' % n for n in range(10_000))))"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_until(lambda: len(work.done()) >= 4)
    driver = psutil.Process(program.pid).children()[0]
    if how == signal.SIGINT:  # as a terminal does: to all of the group
        os.killpg(program.pid, how)
    else:
        program.kill()
    _, told = program.communicate(timeout=15)
    assert how == signal.SIGKILL or b"KeyboardInterrupt" in told
    wait_until(lambda: not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE, 15)
    wait_until(lambda: not workers(cluster, "answer"), 15)
    begun = len(work.done())
    assert list(map_on_ray(cluster.address, answer, names(8))) == [answer(name) for name in names(8)]
    assert len(work.done()) == begun


@needs_ray
@pytest.mark.slow
def test_a_fleet_is_answered_the_same_on_a_cluster_as_here(
    cluster: Cluster, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    devices = tmp_path / "devices.jsonl"
    devices.write_text(
        "".join(f'{{"device": "{name}"}}\n' for name in ("Pixel 9", "Raspberry Pi 5 8GB") * 40)
    )
    answers = []
    for where in ([], ["--ray", cluster.address]):
        assert run(["recommend", "--devices", str(devices), "--json", *where]) == 0
        told = capfdbinary.readouterr()
        assert b"ray" not in told.err.lower()
        answers.append(told.out)
    assert answers[0].count(b"\n") == 81
    assert answers[0] == answers[1]


def workers(cluster: Cluster, task: str) -> list[psutil.Process]:
    """Processes of the nodes that are at this task: Ray gives them its name."""
    return [
        each
        for raylet in cluster.raylets
        for each in psutil.Process(raylet).children()
        if f"ray::{task}" in " ".join(each.cmdline())
    ]


@pytest.mark.parametrize("address", ["", "somewhere", "host:port", "http://host:80", "host:99999999"])
@needs_ray
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidInputError, match="is no address of a Ray cluster"):
        map_on_ray(address, answer, ())


@needs_ray
def test_where_nobody_listens_the_error_comes_at_once_and_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match=r"Connection refused.*ray start --head") as caught:
        map_on_ray("127.0.0.1:1", answer, ())
    assert exit_code(caught.value) == 6


@needs_ray
def test_somebody_who_is_no_ray_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "CONNECT_S", 2.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ClusterError, match="did not let us in within 2 s"),
    ):
        list(map_on_ray(f"127.0.0.1:{silent.getsockname()[1]}", answer, names(1)))
    assert not drivers()


@needs_ray
def test_offline_no_cluster_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_ADVISOR_OFFLINE", "1")
    with pytest.raises(ClusterError, match="'auto' needs the network, which --offline, SLM_ADVISOR_OFFLINE"):
        map_on_ray("auto", answer, ())


def test_without_ray_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    """A Python whose packages are only what this program always needs."""
    script = (
        "import sys, msgspec; sys.path[:] = [path for path in sys.path if 'site-packages' not in path]\n"
        f"sys.path.append({str(ROOT)!r}); sys.meta_path[:] = [f for f in sys.meta_path if isinstance(f, type)]\n"
        "from advisor.fleet.ray_pool import map_on_ray; map_on_ray('auto', len, ())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "ComponentMissingError" in done.stderr
    assert "pip install 'slm-advisor[ray]'" in done.stderr
