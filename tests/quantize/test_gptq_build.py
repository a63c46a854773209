"""Quantizing with GPTQModel: tiny models, the real libraries, real processes, and all that can go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from quantize.errors import GptqError, GptqWorkerError, NoRoomError, TooLittleMemoryError
from quantize.gptq import GptqFacts, GptqProgress, find_gptq, plan_gptq, quantize_gptq
from quantize.gptq_fidelity import measure_gptq_fidelity
from quantize.gptq_recipe import parse_gptq
from quantize.gptq_worker.client import TorchProcess
from quantize.gptq_worker.protocol import Load, Message
from quantize.hashes import sha256_of
from quantize.safetensors_header import read_weights
from quantize.texts import CALIBRATION, HELD_OUT
from tests.quantize.tiny_folders import make_tiny_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_gptq() is None, reason="needs GPTQModel: pip install 'slm-advisor[gptq]'"),
]

ROOT = Path(__file__).parents[2]
FOUR, EIGHT, TWO, THREE = "GPTQ-4bit-128g", "GPTQ-8bit-32g-actorder", "GPTQ-2bit-64g", "GPTQ-3bit-32g"


def build(
    source: Path, out: Path, recipe: str, told: Callable[[GptqProgress], None] | None = None
) -> GptqFacts:
    """A small build: what is tested is not how well it was calibrated."""
    return quantize_gptq(
        source, out, parse_gptq(recipe), CALIBRATION, samples=8, context=256, device="cpu", progress=told
    )


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of two blocks with 32-bit weights, and a licence beside them."""
    folder = tmp_path_factory.mktemp("source") / "llama"
    make_tiny_folder("llama", folder, dtype="float32")
    (folder / "LICENSE").write_text("as you like")
    return folder


@pytest.fixture(scope="module")
def built(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, GptqFacts]]:
    """Checkpoints of the llama by recipe, each made when first asked for."""
    folder = tmp_path_factory.mktemp("built")
    made: dict[str, tuple[Path, GptqFacts]] = {}

    def get(recipe: str) -> tuple[Path, GptqFacts]:
        if recipe not in made:
            made[recipe] = folder / recipe, build(llama, folder / recipe, recipe)
        return made[recipe]

    return get


Built = Callable[[str], tuple[Path, GptqFacts]]


def test_a_checkpoint_holds_what_the_plan_says_and_nothing_else(llama: Path, built: Built) -> None:
    """Every byte accounted for, in the format of auto-gptq; what is no weight is the source's own."""
    out, facts = built(FOUR)
    plan = plan_gptq(llama, parse_gptq(FOUR))
    assert facts.checkpoint_bytes == plan.checkpoint_bytes == read_weights(out).bytes
    assert (facts.modules, facts.whole, facts.rest_dtype) == (plan.modules, (), "F16")
    assert {file.name for file in facts.files} == {path.name for path in out.iterdir()}
    assert {file.name: file.sha256 for file in facts.files} == {
        path.name: sha256_of(path) for path in out.iterdir()
    }
    for path in llama.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            assert (out / path.name).read_bytes() == path.read_bytes()
    config, before = (json.loads((folder / "config.json").read_text()) for folder in (out, llama))
    described = config.pop("quantization_config")
    assert config == before | {"dtype": "float16"}
    assert described == json.loads((out / "quantize_config.json").read_text())
    assert described["quant_method"] == described["checkpoint_format"] == "gptq"
    assert (described["bits"], described["group_size"], described["desc_act"]) == (4, 128, False)
    assert facts.quantizer["gptqmodel"] in described["meta"]["quantizer"][0]
    # A checkpoint travels: where it was made is nobody's business.
    assert str(out.parent) not in json.dumps(described)


def test_the_same_order_gives_the_same_bytes(
    llama: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing beside them, such as logs in the working directory."""
    told: list[GptqProgress] = []
    _, facts = built(FOUR)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = build(llama, Path("again"), FOUR, told.append)
    assert again.files == facts.files
    assert [path.name for path in elsewhere.iterdir()] == ["again"]
    assert {path.name for path in Path("again").iterdir()} == {file.name for file in facts.files}
    assert [progress.phase for progress in told] == [
        "starting",
        *["quantizing"] * 3,
        "writing",
        "checking",
    ]
    assert [(progress.done, progress.total) for progress in told][1:4] == [(0, 2), (1, 2), (2, 2)]


def test_act_order_is_in_the_index_of_groups(built: Built) -> None:
    """Without it the groups follow one another, with it they are mixed."""
    numpy = pytest.importorskip("safetensors.numpy")
    name = "model.layers.0.mlp.down_proj.g_idx"
    plain, mixed = (
        numpy.load_file(built(recipe)[0] / "model.safetensors")[name].tolist() for recipe in (FOUR, EIGHT)
    )
    assert plain == [column // 128 for column in range(512)]
    assert mixed != sorted(mixed)
    assert sorted(mixed) == [column // 32 for column in range(512)]


def test_fewer_bits_are_less_faithful(llama: Path, built: Built) -> None:
    """Measured against the source: 8 bits lose next to nothing, 4 more, 3 more, 2 most."""
    found = [
        measure_gptq_fidelity(built(recipe)[0], llama, HELD_OUT, context=128, chunks=6, device="cpu")
        for recipe in (EIGHT, FOUR, THREE, TWO)
    ]
    losses = [fidelity.kl_divergence.value for fidelity in found]
    assert losses == sorted(losses)
    assert 0 < losses[0] < losses[1] / 10
    tops = [fidelity.same_top.value for fidelity in found]
    assert tops[0] > tops[1] > tops[3]
    assert all(fidelity.predictions == 6 * 63 for fidelity in found)


READERS = """
import json, sys, torch
from quantize.gptq_worker.comparing import _load_built
from transformers import AutoModelForCausalLM, GPTQConfig
folder, source = sys.argv[1:]
bits = json.load(open(folder + "/config.json"))["quantization_config"]["bits"]
tokens = torch.arange(64)[None] * 13 % 1024
with torch.inference_mode():
    ours = _load_built(folder, source)(tokens).logits
    theirs = AutoModelForCausalLM.from_pretrained(
        folder, device_map="cpu", quantization_config=GPTQConfig(bits=bits, backend="gptq_torch")
    )(tokens).logits.float()
    before = AutoModelForCausalLM.from_pretrained(source)(tokens).logits
print(json.dumps([(ours - theirs).abs().max().item(), (ours - before).abs().max().item()]))
"""


@pytest.mark.parametrize("recipe", [FOUR, EIGHT, THREE, TWO])
def test_transformers_reads_the_weights_that_fidelity_measures(
    recipe: str, llama: Path, built: Built
) -> None:
    """Our own reading of the format agrees with theirs, within what their 16-bit floats round off."""
    command = [sys.executable, "-c", READERS, str(built(recipe)[0]), str(llama)]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "GPTQMODEL_CPU_WORKERS": "2",
        "TORCHDYNAMO_DISABLE": "1",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    apart, lost = json.loads(done.stdout.splitlines()[-1])
    assert apart < 0.01
    assert apart < lost / 2 or recipe == EIGHT


def test_bits_that_vllm_does_not_read_are_named(built: Built) -> None:
    assert built(FOUR)[1].vllm is None
    assert "not 3" in (built(THREE)[1].vllm or "")


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3"])
def test_other_architectures_are_quantized_too(architecture: str, tmp_path: Path) -> None:
    """Biases, tied embeddings, norms of another kind; 16-bit weights keep their type."""
    make_tiny_folder(architecture, tmp_path / "source")
    facts = build(tmp_path / "source", tmp_path / "out", FOUR)
    assert (facts.modules, facts.rest_dtype) == (14, "BF16")
    assert facts.checkpoint_bytes == plan_gptq(tmp_path / "source", parse_gptq(FOUR)).checkpoint_bytes
    found = measure_gptq_fidelity(tmp_path / "out", tmp_path / "source", HELD_OUT, context=64, chunks=2)
    assert 0 < found.kl_divergence.value < 0.1


@pytest.mark.parametrize("architecture", ["phi3", "gptneox"])
def test_weights_that_gptqmodel_renames_are_refused(architecture: str, tmp_path: Path) -> None:
    """Nobody else could read such a checkpoint; this is said before hours are spent."""
    make_tiny_folder(architecture, tmp_path / "source")
    told: list[GptqProgress] = []
    with pytest.raises(
        GptqError, match=r"does not keep the weights of .* as they are \(\S+ is renamed or taken apart\)"
    ):
        build(tmp_path / "source", tmp_path / "out", FOUR, told.append)
    assert [progress.phase for progress in told] == ["starting"]


def test_one_scale_a_row_says_which_backend_reads_it(llama: Path, tmp_path: Path) -> None:
    """The kernel that transformers would choose here refuses such a checkpoint, another takes it."""
    facts = build(llama, tmp_path / "out", "GPTQ-4bit")
    assert facts.transformers_backend == "gptq_torch"


# --- what can go wrong ----------------------------------------------------------------------------------------


def test_a_folder_with_files_in_it_is_not_written_to(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(GptqError, match="is not empty"):
        build(llama, tmp_path, FOUR)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_text_that_is_too_short_is_refused(llama: Path, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("Once upon a time.")
    with pytest.raises(GptqError, match=r"short\.txt has \d+ tokens; pieces of 512 need 1,024 or more"):
        quantize_gptq(llama, tmp_path / "out", parse_gptq(FOUR), text)


@pytest.mark.parametrize(
    ("what", "kind"), [("disk_bytes", NoRoomError), ("memory_bytes", TooLittleMemoryError)]
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    what: str, kind: type[Exception], llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quantize import gptq as module

    plan = msgspec.structs.replace(plan_gptq(llama, parse_gptq(FOUR)), **{what: 1 << 60})
    monkeypatch.setattr(module, "plan_gptq", lambda *_, **__: plan)
    told: list[GptqProgress] = []
    with pytest.raises(kind, match=r"takes (about )?1152921504\.6 GB"):
        build(llama, tmp_path / "out", FOUR, told.append)
    assert told == []


def test_code_in_the_folder_is_not_run(llama: Path, tmp_path: Path) -> None:
    """A model that only its own code can read is refused, and the code stays unread."""
    source, evidence = tmp_path / "source", tmp_path / "evidence"
    shutil.copytree(llama, source)
    (source / "own.py").write_text(f"open({str(evidence)!r}, 'w')\n")
    config = json.loads((source / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(GptqError):
        build(source, tmp_path / "out", FOUR)
    assert not evidence.exists()


def test_the_process_reaches_no_network() -> None:
    code = (
        "import socket, sys; from quantize.gptq_worker.main import _no_network; sys.addaudithook(_no_network)\n"
        "socket.create_connection(('127.0.0.1', 9), timeout=1)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "PermissionError: the process with torch has no network" in done.stderr


BUILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from pathlib import Path
from quantize.gptq import quantize_gptq
from quantize.gptq_recipe import parse_gptq
quantize_gptq(
    Path(sys.argv[1]), Path(sys.argv[2]), parse_gptq("GPTQ-4bit-128g"), Path(sys.argv[3]),
    progress=lambda now: print(now.phase, flush=True),
)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_process(number: signal.Signals, llama: Path, tmp_path: Path) -> None:
    """In the middle of quantizing; after SIGKILL nobody can end the process, and it ends by itself."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", BUILD, str(llama), str(out), str(CALIBRATION)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["starting\n", "quantizing\n"]
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 1
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode != 0
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert (len(gone), alive) == (1, [])


def test_a_process_that_is_killed_is_an_error_that_says_so(llama: Path, tmp_path: Path) -> None:
    """As the kernel does where memory runs out."""
    with TorchProcess(Load(str(llama)), scratch=tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(GptqWorkerError, match="most likely because memory ran out"):
            drain(process)


def test_a_process_that_breaks_down_gives_its_last_words(llama: Path, tmp_path: Path) -> None:
    """A checkpoint that is cut off in the middle: the library's own complaint comes through."""
    broken = tmp_path / "broken"
    shutil.copytree(llama, broken)
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with TorchProcess(Load(str(broken)), scratch=tmp_path) as process, pytest.raises(GptqWorkerError) as told:
        drain(process)
    assert "Safetensor" in str(told.value)
    assert "Traceback" in told.value.words


def drain(process: TorchProcess) -> list[Message]:
    with contextlib.closing(process.messages()) as messages:
        return list(messages)


def test_leaving_the_block_ends_the_process(llama: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with TorchProcess(Load(str(llama)), scratch=tmp_path) as process:
        running = psutil.Process(process.pid)
        assert running.is_running()
    assert not psutil.pid_exists(process.pid) or not running.is_running()
    assert time.monotonic() - started < 5
