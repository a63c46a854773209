"""Sentences of the core that reach a screen: found again in what was said, and still said that way by the source."""

from __future__ import annotations

import ast
import errno
import os
import re
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from advisor import language, sentences
from advisor.catalog import load_catalog
from advisor.quality import AXES
from advisor.quality_table import load_table
from advisor.sentences import all_sentences, others, translated
from tests.advisor.tui.conftest import Open, answered, shown, until

ROOT = Path(__file__).parents[3]
PACKAGES = ("profiles", "quantize", "advisor")

NOT_SHOWN = {
    "advisor.catalog_check": "of catalog files, which the wizard leaves out without a word when they have mistakes",
    "advisor.catalog_file": "as above",
    "advisor.cli": "of the command line; the wizard asks it for the version",
    "advisor.estimate": "rows of the command line; bench asks it where a model would run",
    "advisor.gate": "of `fidelity` and `verify`; the wizard asks for no limits",
    "advisor.processor_tables": "patterns of names",
    "advisor.report.build_report": "of the command line; the wizard takes the names of the stages, which are marked",
    "advisor.report.calibration": "of the command line; the wizard takes the structs",
    "advisor.report.table": "of the command line; the wizard takes the marks",
    "advisor.signing": "the wizard asks for the name of the signature's file",
    "profiles.energy": "of `bench --energy`",
    "profiles.engine.build": "of `engine install`; bench asks whether the engine suits the machine",
    "profiles.engine.build_backends": "as above",
    "profiles.engine.build_facts": "as above",
    "profiles.sustain": "of `bench --sustain`",
    "quantize.architectures.blocks": "letters for dimensions",
    "quantize.build_gptq": "the wizard builds GGUF",
    "quantize.gptq": "as above",
    "quantize.gptq_checkpoint": "as above",
    "quantize.gptq_fidelity": "as above",
    "quantize.gptq_recipe": "as above",
    "quantize.gptq_worker": "as above",
}
"""Modules that the wizard imports and whose words it does not show, and why; a package stands for its modules."""

NO_SENTENCES = frozenset(
    {
        "BPE pre-tokenizer was not recognized",  # what the converter says
        "NVML did not shut down cleanly: {}",  # into the engine's log
        "from profiles.engine.worker import main; main()",
        "short rows {}",  # a model's name
        "key = {}",
        "token: {} weights",  # names of terms, which the wizard has words for
        "token: recurrent state",
        "token: KV cache",
        "device file {}",  # where a fact was read
        "device given inline",
        "library: {} ({})",
        "{}, by {}",  # what counted energy
        "{} (pid {})",
        "{} at {}: {} ({})",  # a source, which the wizard describes itself
        "precision not stated",
        "{} to download",
        "and {} more",
        "{} at {}: {}",  # a model, a quantization, and what the engine said
        # what the files for other programs hold, and how they are run
        "ollama create {} -f Modelfile && ollama run {}",
        'folder=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit',
        'exec llama-server --model "$folder"/{} \\',
        "./llama-server.sh --host 127.0.0.1 --port 8080",
        'lms import --yes --copy --user-repo {} "$folder"/{} &&',
        "lms load {} --identifier {} \\",
        "--context-length {} --gpu {}",
        "env $(grep -v '^#' deployment.env) llama-server",
        "{}, pinned by slm-advisor {} on {}",
    }
)
"""Texts of several words that nobody reads on a screen, or that are the same in every language."""

ORIGINS = ("profiles.budget.", "profiles.detect.", "profiles.probes.")
"""Here a text that is not said in a note tells where a fact was read; the wizard shows a word for that."""

NAMES_IN_CALLS = frozenset(
    {"compile", "fact", "fullmatch", "match", "Meta", "partition", "removeprefix", "search"}
)
"""Calls whose arguments are patterns, or where a fact was read."""

SAYS = re.compile(
    r"(Error|Failure|Loaded|NvmlAnswer|Note|TransientError|_error|_failure|_note|_wrong|note|measure|report)$"
)
"""Calls that take a sentence for people, however short."""


def test_every_sentence_is_still_said() -> None:
    """What the source words differently now would no longer be translated."""
    said = {normal(line) for module in modules() for text, _ in said_in(module) for line in text.split("\n")}
    said |= in_data()
    stale = [each for each in all_sentences() if each not in others.SENTENCES and normal(each) not in said]
    assert stale == []


def test_what_the_system_says_is_in_its_words() -> None:
    """The list of what others say has no error that the system knows under other words."""
    known = {os.strerror(number) for number in errno.errorcode}
    assert {"No such file or directory", "No space left on device"} <= known & set(others.SENTENCES)


def test_what_is_said_to_people_is_in_the_list() -> None:
    """Every sentence of every module that the wizard can reach, minus those named with a reason, is translated."""
    known = {normal(each) for each in all_sentences()}
    missing = [
        f"{module}: {line}"
        for module in sorted(reached())
        if not any(module == name or module.startswith(f"{name}.") for name in (*NOT_SHOWN, "advisor.tui"))
        for text, spaces in said_in(module)
        for line in map(normal, text.split("\n"))
        if is_sentence(line, spaces) and line not in known
    ]
    assert missing == []


def test_the_modules_that_are_passed_over_are_reached() -> None:
    """A reason for passing a module over goes with what it was for."""
    assert [
        name for name in NOT_SHOWN if not any(f"{each}.".startswith(f"{name}.") for each in reached())
    ] == []


def test_what_the_tables_say_of_models_is_in_the_list() -> None:
    """Why llama.cpp does not run one, axes of quality, and whose scores are counted; names stay."""
    said = {text for text in in_data() if is_sentence(text, USUALLY)} | set(AXES)
    assert said - set(all_sentences()) == {"Nejumi Leaderboard 4", "Open LLM Leaderboard v2"}


def in_data() -> set[str]:
    reasons = {model.unsupported for model in load_catalog().models if model.unsupported is not None}
    return reasons | set(load_table().harnesses)


@pytest.mark.parametrize("sentence", all_sentences())
def test_a_sentence_is_found_as_itself(sentence: str) -> None:
    """With values in it, no other sentence takes it, and its values come through."""
    pieces = list(string.Formatter().parse(sentence))
    values = {
        name: f"V{number}" if words or not number else f", V{number}"
        for number, (words, name, _, _) in enumerate(pieces)
        if name is not None
    }
    language.use("ja")
    assert translated(sentence.format(**values)) == language._(sentence).format(**values)


def test_an_unknown_text_is_held_against_few_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Painting asks for texts: however one looks, only sentences whose words it has are tried on it and its parts."""
    language.use("ja")
    tried: list[str] = []
    values = sentences._Form.values

    def counted(form: Any, text: str) -> Any:
        tried.append(text)
        return values(form, text)

    monkeypatch.setattr(sentences._Form, "values", counted)
    for n in range(100):
        translated(f"tensor {n}: no; such: 'thing' (is, or {n}) known: by anyone, in the file x")
    assert 0 < len(tried) / 100 < len(all_sentences()) / 6


# --- what the source says -------------------------------------------------------------------------------------


def is_sentence(line: str, spaces: int) -> bool:
    """Enough words, and none of those that are no sentence."""
    if line in NO_SENTENCES or _PATTERN.search(line) or not re.search(r"[a-z]{2}", line):
        return False
    return line.count(" ") >= spaces


_PATTERN = re.compile(r"\\|\w\||\(\.\*\)|\(\?:")  # a regular expression


def normal(text: str) -> str:
    """A text or sentence with {} for each value, without what joins it to others."""
    return re.sub(r"\{[^}]*\}", "{}", text).strip().removesuffix(":")


@cache
def modules() -> dict[str, Path]:
    """Every module of the packages, but the lists themselves."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if not name.startswith("advisor.sentences"):
                found[name] = path
    return found


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text("utf-8"))


@cache
def reached() -> frozenset[str]:
    """The modules that the wizard imports, at once or later, and those of the engine's process."""
    found: set[str] = set()
    waiting = [name for name in modules() if name.startswith("advisor.tui")] + ["profiles.engine.worker"]
    while waiting:
        module = waiting.pop()
        if module in modules() and module not in found:
            found.add(module)
            waiting += imported_by(module)
    return frozenset(found)


def imported_by(module: str) -> Iterator[str]:
    for node in run_time_nodes(parsed(module)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All but what is there for a type checker."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from run_time_nodes(child)


@cache
def said_in(module: str) -> tuple[tuple[str, int], ...]:
    """The texts of a module that are not marked already, with {} for each value.

    With each, how many spaces it has at least if it is a sentence: fewer where a call says it to people.
    """
    return tuple(_said(parsed(module), NEVER if f"{module}.".startswith(ORIGINS) else USUALLY))


SPOKEN, USUALLY, NEVER = 1, 2, 1000


def _said(node: ast.AST, spaces: int) -> Iterator[tuple[str, int]]:
    match node:
        case ast.Expr(value=ast.Constant()):  # a docstring
            return
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id="sources"))]):  # where facts were read
            return
        case ast.Assert() | ast.Raise(exc=ast.Call(func=ast.Name(id="ValueError" | "TypeError"))):
            spaces = NEVER  # a mistake of ours
        case ast.Raise():
            spaces = SPOKEN
        case ast.Call():
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in ("_", "marked", "plural", *NAMES_IN_CALLS):
                return
            if SAYS.search(name) and name not in ("ValueError", "TypeError"):
                spaces = SPOKEN
        case ast.JoinedStr():
            yield (
                "".join(each.value if isinstance(each, ast.Constant) else "{}" for each in node.values),
                spaces,
            )
            for each in node.values:
                if isinstance(each, ast.FormattedValue):
                    yield from _said(each.value, max(spaces, USUALLY))
            return
        case ast.Constant(value=str(text)):
            yield text, spaces
    for child in ast.iter_child_nodes(node):
        yield from _said(child, spaces)


# --- on the screen --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("warming up", "準備運転中"),
        ("round 2 of 3", "3 回中 2 回目"),
        (
            "this machine is too busy to measure: other programs took 1.5 of 2 CPUs, 40% of the time of 2 threads: "
            "python3 (pid 7) 80%. Wait for it or close it, then try again",
            "このマシンは今、計測できないほど混んでいます: 他のプログラムが 2 CPU のうち 1.5 を使い、",
        ),
        (
            "the disk at /mnt became full (the engine says: iostream error), and nothing that was begun is left on it: "
            "free some, or give --out on another disk",
            "/mnt のディスクがいっぱいになりました (the engine says: iostream error)。",
        ),
        (
            "someone/a-model at https://huggingface.co: the connection failed ([Errno -2] Name or service not known) "
            "(3 times in a row); nothing that could be used is in the cache",
            "https://huggingface.co の someone/a-model: 接続できませんでした ([Errno -2] 名前を解決できません) "
            "(3 回続けて)。キャッシュにも使えるものがありません",
        ),
        (
            "/m.gguf is damaged or no model file, at byte 7: the file ends in the type of 'general.name'",
            "/m.gguf は壊れているか、モデルファイルではありません (7 バイト目): "
            "ファイルが'general.name' の型の途中で終わっています",
        ),
        (
            "'x': Card has 8 or 16 GB, not 4 GB; a computer with the card is described in a device file",
            "「x」: Card のメモリは 8、16 GB で、4 GB ではありません。",
        ),
        ("nobody ever said this", "nobody ever said this"),
    ],
)
def test_a_sentence_is_made_again_with_its_values(said: str, expected: str) -> None:
    """Numbers and names stay; what is not known stays as it is; English is left alone."""
    assert translated(said) == said
    language.use("ja")
    assert translated(said).startswith(expected)
    assert "other programs" not in translated(said)


@pytest.mark.parametrize("code", ["ja"])
async def test_what_is_missing_of_a_device_is_said_in_japanese(wizard: Open) -> None:
    """The notes of a device of the library."""
    async with wizard(device="Pixel 9").run_test(size=(100, 40)) as pilot:
        await answered(pilot)
        await until(pilot, lambda: "実機に聞かないと分かりません" in shown(pilot))


@pytest.mark.parametrize("code", ["ja"])
async def test_a_broken_device_file_is_explained_in_japanese(wizard: Open, tmp_path: Path) -> None:
    """With the path of the field as it is written there."""
    file = tmp_path / "broken.json"
    file.write_text('{"memory": {"totl_bytes": 8}}')
    async with wizard(device=str(file)).run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: "memory.totl_bytes: そのような項目はありません" in shown(pilot))
        assert "「total_bytes」のことですか?" in shown(pilot)
