"""Weights from the Hub: planned, fetched, taken up again, checked; over real HTTP from a server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quantize.errors import (
    GatedError,
    HubError,
    HubOfflineError,
    NoRoomError,
    SourceError,
    SourceNotFoundError,
    WrongContentError,
)
from quantize.sources.cache import RepositoryCache
from quantize.sources.fetch import fetch
from quantize.sources.find import find_ready, find_source
from quantize.sources.settings import Patience, hub_settings
from quantize.sources.source import Fetched, FetchProgress, Source
from tests.quantize.hub_server import OTHER_TOKEN, TOKEN, Hub, Repo
from tests.quantize.tiny_weights import tiny_gguf, tiny_model, tiny_split_gguf

HURRIED = Patience(tries=3, first_wait_s=0.01, longest_wait_s=2.0)
LARGE = tiny_gguf("BF16", rows=4096)  # 2 MB

MODEL = "maker/Model-1B"
GGUFS = "quants/Model-1B-GGUF"


pytestmark = pytest.mark.usefixtures("own_hub_cache")


@pytest.fixture
def log_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the token."""

    def with_token(token: str) -> None:
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")

    return with_token


Serve = Callable[[dict[str, Repo]], Hub]
LogIn = Callable[[str], None]


def plan(*gguf_repos: str, revision: str | None = None, offline: bool = False) -> Source:
    return find_source(
        None, weights=MODEL, gguf_repos=gguf_repos, revision=revision, offline=offline, patience=HURRIED
    )


def bring(source: Source, told: list[FetchProgress] | None = None) -> Fetched:
    return fetch(source, told.append if told is not None else None, patience=HURRIED)


def partials(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "hf").rglob("*.incomplete"))


# --- planning


def test_a_plan_downloads_nothing_and_pins_the_commit(serve: Serve) -> None:
    repo = Repo({"Model-1B-BF16.gguf": LARGE, "Model-1B-Q4_K_M.gguf": tiny_gguf("Q4_K")})
    hub = serve({GGUFS: repo, MODEL: Repo(tiny_model())})
    source = plan(GGUFS)
    assert (source.kind, source.origin, source.repository) == ("gguf", "hub", GGUFS)
    assert [file.name for file in source.files] == ["Model-1B-BF16.gguf"]
    assert source.files[0].sha256 == hashlib.sha256(LARGE).hexdigest()
    assert source.revision == repo.commit
    assert (source.precision, source.license) == ("BF16", "apache-2.0")
    assert source.download_bytes == source.bytes == len(LARGE)
    assert hub.downloaded() == set()
    assert source.describe() == (
        f"{GGUFS} at {repo.commit[:7]}: Model-1B-BF16.gguf (BF16, 2.1 MB, 2.1 MB to download)"
    )


def test_safetensors_come_when_no_repository_has_a_full_precision_gguf(serve: Serve) -> None:
    """The notes say what was looked at before."""
    serve({GGUFS: Repo({"Model-1B-Q4_K_M.gguf": tiny_gguf("Q4_K")}), MODEL: Repo(tiny_model(shards=2))})
    source = plan("gone/away-GGUF", GGUFS)
    assert (source.kind, source.repository) == ("safetensors", MODEL)
    assert "has no gone/away-GGUF" in source.notes[0]
    assert source.notes[1] == f"{GGUFS} has no BF16 or F16 GGUF"


def test_an_f32_gguf_comes_after_every_half_precision_one(serve: Serve) -> None:
    serve(
        {
            "one/Model-1B-GGUF": Repo({"Model-1B-f32.gguf": tiny_gguf("F32")}),
            "two/Model-1B-GGUF": Repo({"Model-1B-f16.gguf": tiny_gguf("F16")}),
            MODEL: Repo(tiny_model()),
        }
    )
    assert plan("one/Model-1B-GGUF", "two/Model-1B-GGUF").precision == "F16"
    assert plan("one/Model-1B-GGUF").precision == "F32"


def test_safetensors_that_are_quantized_are_no_source(serve: Serve) -> None:
    """The Hub says of what type most weights are."""
    serve({MODEL: Repo(tiny_model(kind="F8_E4M3"), weights_by_type={"BF16": 10, "F8_E4M3": 1000})})
    with pytest.raises(SourceNotFoundError, match="F8_E4M3 weights: they are quantized already"):
        plan()


def test_a_private_mirror_is_asked_and_nobody_else(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_ENDPOINT with a user's name and password in it, which messages do not show."""
    hub = serve({MODEL: Repo(tiny_model())})
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("http://", "http://me:secretword@"))
    source = plan()
    assert source.endpoint == hub.url
    assert bring(source).precision == "BF16"
    hub.fail("/api/", status=418)
    with pytest.raises(HubError) as raised:
        plan(revision="v2")
    assert "answered 418" in str(raised.value)
    assert "secretword" not in str(raised.value)


def test_a_mirror_without_hashes_in_its_lists_is_asked_for_each(serve: Serve) -> None:
    """Hash and size are in the headers of the file itself."""
    repo = Repo({"Model-1B-F16.gguf": LARGE})
    hub = serve({GGUFS: repo})
    listed = {"sha": repo.commit, "siblings": [{"rfilename": "Model-1B-F16.gguf"}]}
    hub.fail("/api/", body=json.dumps(listed).encode())
    source = plan(GGUFS)
    assert source.files[0].sha256 == hashlib.sha256(LARGE).hexdigest()
    assert source.bytes == len(LARGE)
    assert [seen.method for seen in hub.requests] == ["GET", "HEAD"]


def test_a_mirror_that_never_says_a_hash_is_not_believed(serve: Serve) -> None:
    repo = Repo({"Model-1B-F16.gguf": LARGE})
    hub = serve({GGUFS: repo})
    listed = {"sha": repo.commit, "siblings": [{"rfilename": "Model-1B-F16.gguf"}]}
    hub.fail("/api/", body=json.dumps(listed).encode())
    hub.fail("/resolve/", body=LARGE)
    with pytest.raises(HubError, match="does not say the size and hash of Model-1B-F16"):
        plan(GGUFS)


# --- fetching


def test_a_gguf_is_fetched_hashed_and_found_again(serve: Serve) -> None:
    hub = serve({GGUFS: Repo({"BF16/Model-1B-BF16.gguf": LARGE, "README.md": b"#"})})
    told: list[FetchProgress] = []
    fetched = bring(plan(GGUFS), told)
    assert fetched.path.read_bytes() == LARGE
    assert fetched.files[0].sha256 == hashlib.sha256(LARGE).hexdigest()
    assert fetched.downloaded_bytes == len(LARGE)
    assert (told[-1].done_bytes, told[-1].total_bytes) == (len(LARGE), len(LARGE))
    assert hub.downloaded() == {"BF16/Model-1B-BF16.gguf"}

    again = plan(GGUFS)
    assert again.download_bytes == 0
    assert again.describe().endswith("(BF16, 2.1 MB, cached)")
    told.clear()
    second = bring(again, told)
    assert (second.path, second.downloaded_bytes) == (fetched.path, 0)
    assert {progress.phase for progress in told} == {"checking"}
    assert len(hub.gets("/cdn/")) == 1


def test_only_what_a_conversion_needs_is_downloaded(serve: Serve) -> None:
    """No pickles, no second copies, no readme, no pictures, no code."""
    noise = {
        "README.md": b"#",
        "pytorch_model.bin": b"x",
        "consolidated.safetensors": b"x",
        "original/consolidated.00.pth": b"x",
        "onnx/model.onnx": b"x",
        "onnx/model.safetensors": b"x",
        "model.fp16.safetensors": b"x",
        "modeling_custom.py": b"import os",
        "figure.png": b"x",
        ".gitattributes": b"x",
    }
    hub = serve({MODEL: Repo({**tiny_model(shards=3), **noise})})
    fetched = bring(plan())
    assert hub.downloaded() == set(tiny_model(shards=3))
    assert {file.name for file in fetched.files} == set(tiny_model(shards=3))
    for name, content in tiny_model(shards=3).items():
        assert (fetched.path / name).read_bytes() == content
        assert (
            next(file.sha256 for file in fetched.files if file.name == name)
            == hashlib.sha256(content).hexdigest()
        )


def test_shards_outside_the_index_are_left_where_they_are(serve: Serve) -> None:
    """An old set of parts beside the new one."""
    stale = {f"old-{number:05}-of-00002.safetensors": LARGE for number in (1, 2)}
    hub = serve({MODEL: Repo({**tiny_model(shards=2), **stale})})
    told: list[FetchProgress] = []
    fetched = bring(plan(), told)
    assert hub.downloaded() == set(tiny_model(shards=2))
    assert told[-1].done_bytes == told[-1].total_bytes
    assert fetched.precision == "BF16"


def test_an_index_that_names_a_missing_shard_is_refused(serve: Serve) -> None:
    files = tiny_model(shards=2)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "mtp.safetensors"}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    serve({MODEL: Repo(files)})
    with pytest.raises(SourceError, match=r"names mtp\.safetensors, which is not there"):
        bring(plan())


def test_a_split_gguf_comes_with_all_its_parts(serve: Serve) -> None:
    one, two = tiny_split_gguf("BF16")
    names = [f"BF16/Model-1B-BF16-0000{number}-of-00002.gguf" for number in (1, 2)]
    serve({GGUFS: Repo({names[0]: one, names[1]: two})})
    fetched = bring(plan(GGUFS))
    assert [file.name for file in fetched.files] == names
    assert fetched.path.name == "Model-1B-BF16-00001-of-00002.gguf"
    assert fetched.path.with_name("Model-1B-BF16-00002-of-00002.gguf").read_bytes() == two


def test_a_gguf_that_only_says_f16_is_found_out(serve: Serve) -> None:
    """The experts of some models are 4-bit in what is published as F16."""
    serve({GGUFS: Repo({"Model-1B-F16.gguf": tiny_gguf("MXFP4")})})
    with pytest.raises(SourceError, match=r"quantized already \(mostly MXFP4\)"):
        bring(plan(GGUFS))


def test_the_weights_of_another_size_are_passed_over(serve: Serve) -> None:
    """A repository for several sizes, or for the larger sister."""
    serve({GGUFS: Repo({"Model-7B-F16.gguf": LARGE}), MODEL: Repo(tiny_model())})
    source = find_source(
        None, weights=MODEL, gguf_repos=[GGUFS], parameters=len(LARGE) // 14, patience=HURRIED
    )
    assert source.kind == "safetensors"
    assert "has the size of another model" in source.notes[0]


def test_a_ready_gguf_is_the_preset_and_not_its_neighbour(serve: Serve) -> None:
    """Q4_K_M in any spelling; UD-Q4_K_XL and Q4_K_L are other recipes."""
    others = {"Model-1B-UD-Q4_K_XL.gguf": b"x", "Model-1B-Q4_K_L.gguf": b"x", "Model-1B-Q4_K_S.gguf": b"x"}
    wanted = tiny_gguf("Q4_K")
    hub = serve({"one/Model-GGUF": Repo(others), GGUFS: Repo({**others, "model-1b-q4_k_m.gguf": wanted})})
    source = find_ready(["one/Model-GGUF", GGUFS], "Q4_K_M", patience=HURRIED)
    assert (source.preset, source.precision) == ("Q4_K_M", None)
    assert bring(source).path.read_bytes() == wanted
    assert hub.downloaded() == {"model-1b-q4_k_m.gguf"}
    with pytest.raises(SourceNotFoundError, match="no published IQ4_XS GGUF found"):
        find_ready([GGUFS], "IQ4_XS", patience=HURRIED)


# --- when the connection is bad


def test_a_cut_download_goes_on_within_the_same_call(serve: Serve) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/cdn/", cut_after=1_000_000)
    told: list[FetchProgress] = []
    fetched = bring(plan(GGUFS), told)
    assert fetched.path.read_bytes() == LARGE
    assert [seen.range for seen in hub.gets("/cdn/")] == [None, "bytes=1000000-"]
    waits = [progress for progress in told if progress.phase == "waiting"]
    assert len(waits) == 1
    assert "trying again" in (waits[0].note or "")


def test_a_download_that_keeps_being_cut_says_what_is_there_and_goes_on_in_the_next_call(
    serve: Serve, tmp_path: Path
) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/cdn/", cut_after=500_000)
    hub.fail("/cdn/", cut_after=0, times=3)
    with pytest.raises(HubError) as raised:
        bring(plan(GGUFS))
    message = str(raised.value)
    assert "3 times in a row" in message
    assert "500 kB of 2.1 MB here, and the same command goes on from there" in message
    (partial,) = partials(tmp_path)
    assert partial.read_bytes() == LARGE[:500_000]

    source = plan(GGUFS)
    assert source.download_bytes == len(LARGE) - 500_000
    fetched = bring(source)
    assert fetched.path.read_bytes() == LARGE
    assert fetched.downloaded_bytes == len(LARGE) - 500_000
    assert hub.gets("/cdn/")[-1].range == "bytes=500000-"
    assert partials(tmp_path) == []


def test_ctrl_c_leaves_a_download_that_goes_on(serve: Serve, tmp_path: Path) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})

    def interrupt(progress: FetchProgress) -> None:
        if progress.phase == "downloading" and progress.done_bytes:
            raise KeyboardInterrupt

    hub.fail("/cdn/", cut_after=700_000)  # and after the wait there is a report in the middle
    with pytest.raises(KeyboardInterrupt):
        fetch(plan(GGUFS), interrupt, patience=Patience(tries=3, first_wait_s=0.2))
    (partial,) = partials(tmp_path)
    there = partial.stat().st_size
    assert 700_000 <= there < len(LARGE)
    assert bring(plan(GGUFS)).path.read_bytes() == LARGE
    assert hub.gets("/cdn/")[-1].range == f"bytes={there}-"


def test_a_server_that_ignores_ranges_is_served_from_the_start(serve: Serve) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/cdn/", cut_after=300_000)
    source = plan(GGUFS)
    hub.ignore_ranges = True
    assert bring(source).path.read_bytes() == LARGE
    assert [seen.status for seen in hub.gets("/cdn/")] == [200, 200]


def test_too_many_requests_are_waited_for(serve: Serve) -> None:
    """The Hub's own header, and the usual one, on lists and on files."""
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/api/", status=429, headers={"Retry-After": "0"})
    source = plan(GGUFS)
    hub.fail("/resolve/", status=429, headers={"RateLimit": '"resolvers";r=0;t=0'})
    told: list[FetchProgress] = []
    assert bring(source, told).path.read_bytes() == LARGE
    (note,) = [progress.note for progress in told if progress.phase == "waiting"]
    assert note == "the server has had too many requests; trying again in 1 s"


def test_a_server_that_asks_to_wait_for_an_hour_is_not_waited_for(serve: Serve) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/api/", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(HubError, match="asks to wait 3600 s"):
        plan(GGUFS)
    assert len(hub.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_once_is_asked_again(serve: Serve, status: int) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/api/", status=status)
    source = plan(GGUFS)
    hub.fail("/resolve/", status=status)
    assert bring(source).path.read_bytes() == LARGE


def test_a_signed_address_that_has_expired_is_asked_for_anew(serve: Serve) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/cdn/", status=403)
    assert bring(plan(GGUFS)).path.read_bytes() == LARGE
    assert len([seen for seen in hub.requests if "/resolve/" in seen.path]) == 2


def test_a_hub_that_is_not_there_is_a_network_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub({}) as hub:
        address = hub.url
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(HubError, match=r"refused.*nothing that could be used is in the cache"):
        plan(GGUFS)


def test_a_download_waits_for_another_process_that_has_the_file(serve: Serve) -> None:
    """Whoever holds the Hub's own lock; what it has brought is not brought again."""
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    source = plan(GGUFS)
    cache = RepositoryCache(hub_settings().cache, GGUFS)
    lock, blob = cache.lock(source.files[0]), cache.blob(source.files[0])
    lock.parent.mkdir(parents=True)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom filelock import FileLock\n"
        "with FileLock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        told: list[FetchProgress] = []

        def finish_the_other(progress: FetchProgress) -> None:
            told.append(progress)
            if progress.phase == "waiting" and not other.stdin.closed:
                blob.parent.mkdir(parents=True)
                blob.write_bytes(LARGE)
                other.stdin.close()

        fetched = fetch(source, finish_the_other, patience=HURRIED)
    assert fetched.path.read_bytes() == LARGE
    assert fetched.downloaded_bytes == 0
    assert "another process is downloading it" in {progress.note for progress in told}
    assert hub.gets() == hub.gets("/api/")


# --- when what comes is wrong


def test_content_with_another_hash_is_removed_and_named(serve: Serve, tmp_path: Path) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.repos[GGUFS].swapped["Model-1B-BF16.gguf"] = LARGE[:-1] + b"!"
    source = plan(GGUFS)
    with pytest.raises(WrongContentError, match=r"another hash than the Hub announces.*it was removed"):
        bring(source)
    assert partials(tmp_path) == []
    assert not list((tmp_path / "hf").rglob("*BF16.gguf"))


def test_a_partial_file_of_something_else_is_started_over(serve: Serve) -> None:
    """Another program may have left it."""
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    source = plan(GGUFS)
    partial = RepositoryCache(hub_settings().cache, GGUFS).partial(source.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"?" * 1000)
    assert bring(source).path.read_bytes() == LARGE
    assert [seen.range for seen in hub.gets("/cdn/")] == ["bytes=1000-", None]


def test_a_cached_file_that_was_damaged_is_fetched_again(serve: Serve) -> None:
    serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    first = bring(plan(GGUFS))
    first.path.resolve().write_bytes(LARGE[:-1] + b"!")
    second = bring(plan(GGUFS))
    assert second.path.read_bytes() == LARGE
    assert second.downloaded_bytes == len(LARGE)


def test_a_web_page_instead_of_a_file_spoils_nothing(serve: Serve, tmp_path: Path) -> None:
    """A log-in page of a hotel or a company, answered with success."""
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.fail("/cdn/", cut_after=1000)
    hub.fail("/cdn/", cut_after=0, times=2)
    source = plan(GGUFS)
    with pytest.raises(HubError):
        bring(source)
    page = b"<html>Please log in</html>"
    for length in (0, len(LARGE)):
        hub.fail("/resolve/", body=page.ljust(length))
        with pytest.raises(WrongContentError, match="a proxy or a log-in page may be in between"):
            bring(source)
    assert partials(tmp_path)[0].read_bytes() == LARGE[:1000]
    hub.fail("/resolve/", body=page, headers={"Content-Type": "application/octet-stream"})
    with pytest.raises(WrongContentError, match="comes as 26 bytes instead of"):
        bring(source)
    assert partials(tmp_path)[0].read_bytes() == LARGE[:1000]


def test_more_bytes_than_announced_are_not_taken(serve: Serve, tmp_path: Path) -> None:
    """Of an answer that does not say its length."""
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    hub.repos[GGUFS].swapped["Model-1B-BF16.gguf"] = LARGE * 3
    source = plan(GGUFS)
    hub.chunked = True
    with pytest.raises(WrongContentError, match="comes as more bytes instead of"):
        bring(source)
    assert all(partial.stat().st_size <= len(LARGE) for partial in partials(tmp_path))


LIST = {"sha": "a" * 40, "siblings": [{"rfilename": "Model-1B-BF16.gguf", "size": 5, "blobId": "b" * 40}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<!DOCTYPE html><html>", "answered with a web page"),
        (b"", "no list of files"),
        (b"[]", "no list of files"),
        (b"[" * 100_000, "no list of files"),
        (json.dumps({**LIST, "sha": "main"}).encode(), "no list of files"),
        (json.dumps({**LIST, "sha": "a" * 40 + "\n"}).encode(), "no list of files"),
        (json.dumps({**LIST, "sha": "../" * 14}).encode(), "no list of files"),
        (json.dumps({"siblings": []}).encode(), "no list of files"),
        (json.dumps({**LIST, "siblings": [{"size": 5}]}).encode(), "no list of files"),
        (json.dumps({**LIST, "siblings": [{"rfilename": "x.gguf", "size": -1}]}).encode(), "no list of files"),
        (json.dumps({**LIST, "siblings": [{"rfilename": "x.gguf", "size": 1e30}]}).encode(), "no list of files"),
        (b'{"sha": "%b", "siblings": [{"rfilename": "x.gguf", "size": NaN}]}' % (b"a" * 40), "no list of files"),
        (b"\xff" * 1000, "no list of files"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_list_of_files_is_refused(serve: Serve, body: bytes, message: str) -> None:
    hub = serve({})
    hub.fail("/api/", body=body)
    with pytest.raises(HubError, match=message):
        plan(GGUFS)


@pytest.mark.parametrize(
    "name",
    [
        "../../../evil-BF16.gguf",
        "/etc/evil-BF16.gguf",
        "C:\\evil-BF16.gguf",
        "a/../../evil-BF16.gguf",
        "a//evil-BF16.gguf",
        "evil\n-BF16.gguf",
        "x" * 2000 + "-BF16.gguf",
    ],
)
def test_a_name_that_leaves_its_folder_is_never_taken(serve: Serve, tmp_path: Path, name: str) -> None:
    hub = serve({})
    hub.fail(
        "/api/", body=json.dumps({**LIST, "siblings": [{**LIST["siblings"][0], "rfilename": name}]}).encode()
    )  # type: ignore[index]
    with pytest.raises(SourceNotFoundError):
        plan(GGUFS)
    assert not list(tmp_path.rglob("*evil*"))


def test_an_endless_answer_is_cut_off(serve: Serve) -> None:
    hub = serve({})
    hub.fail("/api/", body=b" " * 65_000_000)
    with pytest.raises(HubError, match="larger than any list of files"):
        plan(GGUFS)


def test_a_full_disk_is_seen_before_the_first_byte(serve: Serve) -> None:
    repo = Repo({"Model-1B-BF16.gguf": LARGE})
    hub = serve({GGUFS: repo})
    huge = {
        "rfilename": "Model-1B-BF16.gguf",
        "lfs": {"sha256": "c" * 64, "size": 40_000_000_000_000 // 1000},
    }
    hub.fail(
        "/api/",
        body=json.dumps(
            {
                "sha": repo.commit,
                "siblings": [
                    {**huge, "rfilename": f"BF16/Model-1B-BF16-{i:05}-of-00900.gguf"} for i in range(1, 901)
                ],
            }
        ).encode(),
    )
    with pytest.raises(NoRoomError, match="set HF_HOME to a folder on another disk"):
        bring(plan(GGUFS))
    assert hub.downloaded() == set()


# --- who may read what


def test_a_gated_model_without_a_token_says_where_to_accept_the_licence(serve: Serve) -> None:
    hub = serve({MODEL: Repo(tiny_model(), gated=True)})
    with pytest.raises(GatedError) as raised:
        plan()
    assert f"accept its licence at {hub.url}/{MODEL}" in str(raised.value)
    assert "log in with 'hf auth login' or set HF_TOKEN" in str(raised.value)


def test_a_gated_model_with_a_token_that_has_no_access_says_something_else(
    serve: Serve, log_in: LogIn
) -> None:
    hub = serve({MODEL: Repo(tiny_model(), gated=True)})
    log_in(OTHER_TOKEN)
    with pytest.raises(GatedError, match="this token's account has no access to it yet") as raised:
        plan()
    assert f"{hub.url}/{MODEL}" in str(raised.value)
    assert "hf auth login" not in str(raised.value)


def test_a_gated_model_comes_with_the_right_token_which_the_cdn_never_sees(
    serve: Serve, log_in: LogIn
) -> None:
    hub = serve({MODEL: Repo(tiny_model(), gated=True)})
    log_in(TOKEN)
    assert bring(plan()).precision == "BF16"
    cdn = [seen for seen in hub.requests if seen.path.startswith("/cdn/")]
    assert cdn
    assert all(seen.token is None for seen in cdn)
    assert all(seen.token == f"Bearer {TOKEN}" for seen in hub.requests if seen not in cdn)


def test_a_gated_repository_is_passed_over_for_an_open_one(serve: Serve) -> None:
    serve(
        {
            "maker/Model-1B-GGUF": Repo({"Model-1B-BF16.gguf": LARGE}, gated=True),
            GGUFS: Repo({"Model-1B-BF16.gguf": LARGE}),
        }
    )
    source = plan("maker/Model-1B-GGUF", GGUFS)
    assert source.repository == GGUFS
    assert source.notes == ("maker/Model-1B-GGUF is gated, without access",)


def test_a_token_that_the_hub_does_not_know_is_named_as_the_trouble(serve: Serve, log_in: LogIn) -> None:
    serve({MODEL: Repo(tiny_model())})
    log_in("hf_expired")
    with pytest.raises(SourceError, match="does not accept the token") as raised:
        plan()
    assert "hf_expired" not in str(raised.value)


def test_a_token_with_a_line_end_in_it_is_not_printed(serve: Serve, log_in: LogIn) -> None:
    serve({MODEL: Repo(tiny_model())})
    log_in("hf_secret\x01part")
    with pytest.raises(SourceError, match="characters that no token has") as raised:
        plan()
    assert "secret" not in str(raised.value)


def test_what_does_not_exist_or_is_private_looks_alike_without_a_token(serve: Serve, log_in: LogIn) -> None:
    serve({MODEL: Repo(tiny_model(), private=True)})
    with pytest.raises(SourceNotFoundError, match="or it is private: log in"):
        plan()
    log_in(TOKEN)
    assert plan().repository == MODEL


def test_a_token_without_the_right_to_read_is_named(serve: Serve, log_in: LogIn) -> None:
    """A fine-grained token, made for something else."""
    hub = serve({MODEL: Repo(tiny_model())})
    log_in(TOKEN)
    hub.fail("/api/", status=403, headers={"X-Error-Message": "the token lacks a right"})
    with pytest.raises(SourceError, match="does not let this token read maker/Model-1B"):
        plan()


# --- revisions and the cache


def test_a_pinned_commit_is_kept_to(serve: Serve) -> None:
    repo = Repo({"Model-1B-BF16.gguf": LARGE})
    hub = serve({GGUFS: repo})
    source = plan(GGUFS, revision=repo.commit)
    assert source.revision == repo.commit
    bring(source)
    assert all(repo.commit in seen.path for seen in hub.requests)


def test_a_revision_that_no_repository_has_is_said(serve: Serve) -> None:
    serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE}), MODEL: Repo(tiny_model())})
    with pytest.raises(SourceNotFoundError, match="has no such revision"):
        plan(GGUFS, revision="v9")
    with pytest.raises(SourceError, match="is no revision"):
        plan(GGUFS, revision="../../refs")


def test_another_commit_than_the_pinned_one_is_refused(serve: Serve) -> None:
    hub = serve({})
    hub.fail("/api/", body=json.dumps(LIST).encode())
    with pytest.raises(HubError, match="another commit"):
        plan(GGUFS, revision="c" * 40)


def test_offline_the_cache_has_to_do_and_does(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds, by argument and by HF_HUB_OFFLINE, without a single request."""
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE}), MODEL: Repo(tiny_model(shards=2))})
    gguf, folder = bring(plan(GGUFS)), bring(plan())
    asked = len(hub.requests)
    source = plan(GGUFS, offline=True)
    assert (source.revision, source.files[0].sha256) == (gguf.source.revision, gguf.files[0].sha256)
    assert fetch(source, offline=True).path == gguf.path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = fetch(plan())
    assert (again.path, again.files) == (folder.path, folder.files)
    assert len(hub.requests) == asked


def test_offline_without_a_cache_is_an_error_that_says_so(serve: Serve) -> None:
    hub = serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    source = plan(GGUFS)
    with pytest.raises(HubOfflineError, match="no full-precision weights in the Hub's cache"):
        plan(GGUFS, offline=True)
    with pytest.raises(HubOfflineError, match="is not in the Hub's cache"):
        fetch(source, offline=True)
    assert len(hub.requests) == 1


def test_offline_half_a_model_is_none(serve: Serve) -> None:
    """One shard of two is in the cache."""
    serve({MODEL: Repo(tiny_model(shards=2))})
    fetched = bring(plan())
    (fetched.path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(HubOfflineError, match="incomplete set of safetensors"):
        plan(offline=True)


def test_a_hub_that_cannot_be_reached_leaves_the_cache(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    bring(plan(GGUFS))
    with Hub({}) as gone:
        address = gone.url
    monkeypatch.setenv("HF_ENDPOINT", address)
    source = plan(GGUFS)
    assert source.download_bytes == 0
    assert "the Hub could not be asked" in source.notes[-1]
    assert bring(source).path.read_bytes() == LARGE


def test_a_file_system_without_links_holds_the_files_themselves(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    hub = serve({MODEL: Repo(tiny_model(shards=2))})
    fetched = bring(plan())
    assert not any(file.path.is_symlink() for file in fetched.files)
    again = bring(plan())
    assert (again.files, again.downloaded_bytes) == (fetched.files, 0)
    assert fetch(plan(offline=True), offline=True).files == fetched.files
    assert len(hub.gets("model-00001")) == 1


def test_a_cache_that_cannot_be_written_is_named(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve({GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(SourceError, match=r"cannot be written.*set HF_HOME"):
        bring(plan(GGUFS))


# --- with huggingface_hub itself

SCRIPT = """
import sys
from huggingface_hub import hf_hub_download, model_info, snapshot_download
info = model_info(sys.argv[1], files_metadata=True)
print(sorted(sibling.rfilename for sibling in info.siblings))
print(snapshot_download(sys.argv[1]))
"""


def test_huggingface_hub_downloads_from_this_hub_into_the_same_cache(serve: Serve, tmp_path: Path) -> None:
    """The server answers as the real one; what one of the two has fetched, the other does not fetch again."""
    hub = serve({MODEL: Repo(tiny_model()), GGUFS: Repo({"Model-1B-BF16.gguf": LARGE})})
    ours = bring(plan(GGUFS))
    asked = len(hub.gets("/cdn/"))

    def theirs(repository: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, repository],
            env=environment,
            text=True,
            capture_output=True,
            timeout=60,
            check=True,
        )

    assert theirs(GGUFS).stdout.splitlines()[-1] == str(ours.path.parent)
    assert len(hub.gets("/cdn/")) == asked
    folder = theirs(MODEL).stdout.splitlines()[-1]
    source = plan()
    assert source.download_bytes == 0
    fetched = bring(source)
    assert (str(fetched.path), fetched.downloaded_bytes) == (folder, 0)


COMMAND = """
import logging, os, sys
logging.basicConfig(level=os.environ["LEVEL"])
from quantize.errors import QuantizeError
from quantize.sources.fetch import fetch
from quantize.sources.find import find_source
from quantize.sources.settings import Patience
patience = Patience(tries=2, first_wait_s=0.01)
try:
    source = find_source(None, weights=sys.argv[1], patience=patience)
    print(source, source.describe())
    print(fetch(source, print, patience=patience))
except QuantizeError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("trouble", ["none", "gated", "echo", "cut"])
def test_no_output_or_log_shows_the_token(serve: Serve, tmp_path: Path, trouble: str) -> None:
    """Not on success, not in an error, not with every logger at DEBUG, and nothing is drawn on the terminal.

    A server that repeats the token in its answer is in the HTTP library's own debug log, which nobody else turns on.
    """
    hub = serve({MODEL: Repo(tiny_model(), gated=trouble == "gated")})
    token = OTHER_TOKEN if trouble == "gated" else TOKEN
    if trouble == "echo":
        hub.fail("/api/", status=400, headers={"X-Error-Message": f"what is {token}?"}, body=token.encode())
    if trouble == "cut":
        hub.fail("/cdn/", cut_after=100, times=9)
    level = "INFO" if trouble == "echo" else "DEBUG"
    environment = {**os.environ, "HF_TOKEN": token, "HF_DEBUG": "1", "LEVEL": level}
    del environment["HF_HUB_DISABLE_IMPLICIT_TOKEN"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, MODEL],
        env=environment,
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    output = done.stdout + done.stderr
    assert any(seen.token == f"Bearer {token}" for seen in hub.requests)
    assert token not in output
    assert "%|" not in output
    expected = {"none": "Fetched(", "gated": "GatedError", "echo": "HubError", "cut": "HubError"}[trouble]
    assert expected in done.stdout
    told = [line for line in done.stdout.splitlines() if line.startswith("FetchProgress")]
    assert all("http" not in line for line in told)
