"""The real engine failing in every way that can be arranged: each is a value, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from profiles.engine.client import Engine
from profiles.engine.protocol import (
    ContextOpened,
    EngineFailure,
    LoadModel,
    ModelLoaded,
    OpenContext,
    RunTest,
)
from quantize.gguf_writer import TensorInfo, header

pytestmark = pytest.mark.engine

Q8_1 = 9  # ggml_type: a type for the engine's own use, which its attention cannot read
LONG = RunTest(n_gen=100_000)  # minutes
LONG_CONTEXT = OpenContext(n_ctx=100_100, type_k=8, type_v=8)


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    pytest.importorskip("llama_cpp")
    with Engine() as engine:
        yield engine


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    """A running worker; a test that needs its own may end it."""
    shared.version()
    yield shared
    shared.close()


def failure(reply: object, kind: str) -> EngineFailure:
    assert isinstance(reply, EngineFailure), reply
    assert reply.kind == kind, reply
    return reply


def running(engine: Engine, path: Path, context: OpenContext) -> None:
    assert isinstance(engine.load_model(LoadModel(str(path))), ModelLoaded)
    opened = engine.open_context(context)
    assert isinstance(opened, ContextOpened), opened


def wait_for(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def busy(pid: int) -> bool:
    """Has it computed for a while? Loading takes less."""
    return psutil.Process(pid).cpu_times().user > 2.5


# --- files --------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_model_is_refused_with_the_reason(shared: Engine, tmp_path: Path) -> None:
    for name, content in {"text": b"hello\n" * 100, "empty": b""}.items():
        path = tmp_path / name
        path.write_bytes(content)
        reply = failure(shared.load_model(LoadModel(str(path))), "refused")
        assert reply.message == f"the engine cannot load {path}: it is not a GGUF file"
    missing = tmp_path / "missing.gguf"
    reply = failure(shared.load_model(LoadModel(str(missing))), "refused")
    assert f"{missing}: it cannot be opened (No such file or directory)" in reply.message


@pytest.mark.parametrize("kept", [5, 2_000, 1_000_000, 50_000_000])
def test_a_cut_file_is_refused_as_one(shared: Engine, smollm2: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.gguf"
    with smollm2.open("rb") as whole:
        path.write_bytes(whole.read(kept))
    reply = failure(shared.load_model(LoadModel(str(path))), "refused")
    assert "it is cut off or damaged" in reply.message
    assert reply.last_words


def test_an_architecture_the_engine_does_not_know_is_named(shared: Engine, tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(header({"general.architecture": "frobnicate"}, [])[0])
    reply = failure(shared.load_model(LoadModel(str(path))), "refused")
    assert "does not know the architecture frobnicate" in reply.message


def test_an_encoder_is_refused_because_it_writes_no_text(shared: Engine, tmp_path: Path) -> None:
    path = tmp_path / "bert.gguf"
    write_bert(path)
    assert isinstance(shared.load_model(LoadModel(str(path))), ModelLoaded)
    reply = failure(shared.open_context(OpenContext(64)), "refused")
    assert "it is an encoder" in reply.message
    failure(shared.run_test(RunTest(n_prompt=8)), "refused")


def test_a_name_that_is_no_text_is_refused(shared: Engine) -> None:
    reply = failure(shared.load_model(LoadModel(os.fsdecode(b"/tmp/\xff.gguf"))), "refused")
    assert "UTF-8" in reply.message


# --- contexts and tests -------------------------------------------------------------------------------------


def test_questions_in_the_wrong_order_say_what_comes_first() -> None:
    with Engine() as engine:
        assert "load one before" in failure(engine.open_context(OpenContext(64)), "refused").message
        assert "open one before" in failure(engine.run_test(RunTest(n_gen=1)), "refused").message


def test_a_context_too_large_for_memory_is_refused(engine: Engine, smollm2: Path) -> None:
    """On a system that promises memory it does not have, the worker would be killed: so it gets a limit here."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("this system cannot limit the memory of another process")
    assert isinstance(engine.load_model(LoadModel(str(smollm2))), ModelLoaded)
    limit = psutil.Process(engine.pid).memory_info().vms + 2**30
    resource.prlimit(engine.pid, resource.RLIMIT_AS, (limit, limit))
    for n_ctx in (100_000, 10**9):
        reply = failure(engine.open_context(OpenContext(n_ctx)), "refused")
        assert f"a context of {n_ctx} tokens" in reply.message
        assert reply.message.endswith("memory ran out")
    assert isinstance(engine.open_context(OpenContext(512)), ContextOpened)  # the engine is well


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (OpenContext(512, type_v=8, flash_attention="off"), "a quantized V cache needs flash attention"),
        (OpenContext(512, type_k=12), "does not divide its heads of 64"),
        (OpenContext(512, type_k=5), "no tensor type of number 5"),
        (OpenContext(512, type_v=10**6), "no tensor type of number 1000000"),
        (OpenContext(10**10), "<= 2147483647 - at `$.n_ctx`"),
        (OpenContext(0), ">= 1 - at `$.n_ctx`"),
        (OpenContext(512, n_batch=0), ">= 1 - at `$.n_batch`"),
        (OpenContext(512, threads=100_000), "<= 512 - at `$.threads`"),
    ],
)
def test_settings_the_engine_cannot_have_are_refused(
    shared: Engine, smollm2: Path, context: OpenContext, reason: str
) -> None:
    shared.load_model(LoadModel(str(smollm2)))
    assert reason in failure(shared.open_context(context), "refused").message


# --- a worker that dies or hangs ----------------------------------------------------------------------------


def test_a_failed_assertion_of_the_engine_is_a_crash_with_its_words(engine: Engine, smollm2: Path) -> None:
    running(engine, smollm2, OpenContext(64, type_k=Q8_1, type_v=Q8_1))
    crashed = engine.pid
    reply = failure(engine.run_test(RunTest(n_prompt=8)), "crashed")
    assert "SIGABRT: ops.cpp:" in reply.message  # without the folder it was built in
    assert "GGML_ASSERT" in reply.message
    assert engine.pid is None
    assert not psutil.pid_exists(crashed or 0)
    running(engine, smollm2, OpenContext(64))  # the next question finds a new worker


def test_last_words_are_about_the_question_that_failed(engine: Engine, smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    failure(engine.load_model(LoadModel(str(tmp_path / "text.gguf"))), "refused")
    running(engine, smollm2, OpenContext(64, type_k=Q8_1, type_v=Q8_1))
    reply = failure(engine.run_test(RunTest(n_prompt=8)), "crashed")
    assert "GGUF" not in reply.last_words
    assert reply.last_words.isprintable() or "\n" in reply.last_words
    assert "\0" not in reply.last_words


def test_an_engine_that_hangs_is_given_up_after_the_questions_own_time(engine: Engine, smollm2: Path) -> None:
    running(engine, smollm2, OpenContext(64))
    hanging = engine.pid
    assert hanging is not None
    os.kill(hanging, signal.SIGSTOP)
    reply = failure(engine.run_test(RunTest(n_gen=1), timeout_s=0.3), "timeout")
    assert "no answer in 0.3 s" in reply.message
    assert not psutil.pid_exists(hanging)


def test_an_engine_killed_for_want_of_memory_is_told_as_that(engine: Engine, smollm2: Path) -> None:
    running(engine, smollm2, LONG_CONTEXT)
    pid = engine.pid
    assert pid is not None
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    reply = failure(engine.run_test(LONG), "killed")
    assert "memory ran out" in reply.message


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's choice is Linux's")
def test_the_kernel_is_told_to_end_the_engine_before_anything_else(engine: Engine) -> None:
    assert Path(f"/proc/{engine.pid}/oom_score_adj").read_text().strip() == "1000"


def test_another_thread_may_close_the_engine_in_the_middle_of_a_test(engine: Engine, smollm2: Path) -> None:
    running(engine, smollm2, LONG_CONTEXT)
    pid = engine.pid
    threading.Timer(0.5, engine.close).start()
    reply = failure(engine.run_test(LONG), "closed")
    assert "closed while it worked" in reply.message
    assert not psutil.pid_exists(pid or 0)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_computes_on_when_the_parent_ends_in_the_middle_of_a_test(
    smollm2: Path, ending: signal.Signals
) -> None:
    pytest.importorskip("llama_cpp")
    script = textwrap.dedent(f"""
        from profiles.engine.client import Engine
        from profiles.engine.protocol import LoadModel, OpenContext, RunTest
        with Engine() as engine:
            engine.load_model(LoadModel({str(smollm2)!r}))
            engine.open_context(OpenContext(100_100, type_k=8, type_v=8))
            print(engine.pid, flush=True)
            engine.run_test(RunTest(n_gen=100_000), timeout_s=600)
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    wait_for(lambda: busy(pid))
    parent.send_signal(ending)
    parent.wait(10)
    wait_for(lambda: gone(pid), 5)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def write_bert(path: Path) -> None:
    """The smallest BERT the engine loads; all its weights are zero."""
    n_embd, n_ff, n_vocab, n_ctx = 32, 64, 100, 128
    head, size = header(
        {
            "general.architecture": "bert",
            "bert.context_length": n_ctx,
            "bert.embedding_length": n_embd,
            "bert.block_count": 1,
            "bert.feed_forward_length": n_ff,
            "bert.attention.head_count": 4,
            "bert.attention.layer_norm_epsilon": 1e-12,
            "bert.vocab_size": n_vocab,
            "tokenizer.ggml.model": "no_vocab",
            "tokenizer.ggml.token_type_count": 2,
        },
        [
            TensorInfo("token_embd.weight", (n_embd, n_vocab), "F32"),
            TensorInfo("position_embd.weight", (n_embd, n_ctx), "F32"),
            TensorInfo("token_embd_norm.weight", (n_embd,), "F32"),
            TensorInfo("token_embd_norm.bias", (n_embd,), "F32"),
            *(
                TensorInfo(f"blk.0.attn_{x}.weight", (n_embd, n_embd), "F32")
                for x in ("q", "k", "v", "output")
            ),
            *(
                TensorInfo(f"blk.0.{norm}.{part}", (n_embd,), "F32")
                for norm in ("attn_output_norm", "layer_output_norm")
                for part in ("weight", "bias")
            ),
            TensorInfo("blk.0.ffn_up.weight", (n_embd, n_ff), "F32"),
            TensorInfo("blk.0.ffn_down.weight", (n_ff, n_embd), "F32"),
        ],
    )
    path.write_bytes(head + bytes(size))
