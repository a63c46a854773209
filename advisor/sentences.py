"""Sentences that are made where no language is known, in the language in use.

`profiles` and `quantize` may not import `advisor.language`, and much of the core speaks through errors and notes that
scripts read in English. The wizard shows them too: `translated` finds which of SENTENCES a text was made from, and
makes it again from the translation, with the same values, which may be sentences themselves. A test holds the list
against the source.
"""

from __future__ import annotations

import functools
import re
import string

from advisor.language import _, current, marked

SENTENCES = (
    # a busy machine, heat, power
    marked("this machine is too busy to measure: {reasons}{who}. Wait for it or close it, then try again"),
    marked("other programs took {others} of {cpus} CPUs, {share} of the time of {threads}"),
    marked("the hypervisor withheld {steal} of {cpus} CPUs (steal time)"),
    marked("other programs used {others} of {cpus} CPUs: memory bandwidth and clock are shared"),
    marked("the processor slowed down against heat ({times} times)"),
    marked("on battery: the clock may be lower than on mains"),
    marked("the governor 'powersave' keeps the clock at its lowest"),
    marked(
        "a virtual machine: what else its host does changes the speed from minute to minute, so no interval is "
        "narrower than {share} to each side"
    ),
    marked("under-voltage: this board's power supply is too weak, so it clocks down"),
    marked("this board is throttled now: cool it"),
    marked("the calibration is not kept: while it ran, {reasons}. Close them and try again"),
    marked(
        "calibrating took too long: this device is too slow, or too busy, for the first models to be measured within "
        "the minute; estimates stay at grade 'spec'"
    ),
    # the engine
    marked("the system ended the engine, most likely because memory ran out (SIGKILL)"),
    marked("the engine ended itself with {how}: {last}"),
    marked("the engine was closed while it worked"),
    marked("the engine gave no answer in {seconds} s"),
    # what goes on
    marked("nothing yet: waiting until the machine is quiet"),
    marked("looking whether the machine is quiet"),
    marked("warming up"),
    marked("round {number} of {rounds}"),
    marked("writing {what}, {size}, to {folder}{kind}"),
    marked("the whole model"),
    marked("slices of {counts} and {last} layers"),
    marked("generates {tg} tokens/s, reads prompts at {pp}"),
    marked("overhead of a token{backend}"),
    marked("overhead of a block{backend}"),
    marked("cache of {model}{backend}"),
    # files and folders
    marked("{path} is not there; give the path of a GGUF file"),
    marked("{path} is part {part} of {parts} of a model; give its first part"),
    marked("{path} is an addition to a model (vision or adapter) and not a model"),
    marked(
        "{path} is an embedding model ({architecture}): it generates no text whose speed could be measured"
    ),
    marked("{path} is one of {parts} parts of a model; merge them first (llama-gguf-split --merge)"),
    marked("no prediction, and the result is not kept: {error}"),
    marked("{path} has {size} bytes, and {expected} when it was built: build it again"),
    marked("{path}, which the build's manifest names, is not there: {error}"),
    marked("the result could not be kept: there is no home folder; set XDG_DATA_HOME"),
    marked("the result could not be kept in {path}: {error}"),
    # room and memory
    marked(
        "the disk at {disk} became full ({words}), and nothing that was begun is left on it: free some, or give --out "
        "on another disk"
    ),
    marked("a disk became full ({words}): {where}"),
    marked("{folder}, perhaps (TMPDIR names another)"),
    marked("{what} needs {needed} in {folder}, which has {free} free; free some, or {way} on another disk"),
    marked("the build"),
    marked("the download"),
    marked("the converter"),
    marked("give --out"),
    marked("set HF_HOME to a folder"),
    marked("set XDG_DATA_HOME to a folder"),
    marked("the stage '{stage}' needs {needed} of memory, {free} are free: close other programs{ways}"),
    marked("--no-imatrix does without it"),
    marked("--no-fidelity does without it"),
    marked(
        "no slice of this model fits: {memory} of memory and {disk} in {folder} are free; close programs, or set "
        "TMPDIR to a folder on a disk with more room"
    ),
    marked(
        "{model}:{quant} needs {needed} here, and there is only {available}; 'slm-advisor recommend' shows what fits"
    ),
    # builds
    marked("{target} is there and is no build: move it away, or give another --out"),
    marked("{target} is built already: --replace builds it again, --out puts it elsewhere"),
    marked("another build of {target} is under way{who}: wait for it, or end it"),
    marked("the engine cannot make a {quant} of it: {error}"),
    marked("the engine cannot make a {quant} of {model}: {error}"),
    # a device
    marked(
        "the memory of '{device}' is not known; give --memory-budget or memory.total_bytes in the device file"
    ),
    marked(
        "no speed can be estimated for '{device}': give the name of its chip, or memory.bandwidth_bytes_per_s, in the "
        "device file"
    ),
    marked("cpufreq is not exposed here (usual in virtual machines and containers)"),
    marked("{why} for this process's control group"),
    marked("no limit is set"),
    marked("no memory controller is mounted"),
    marked("{why} ({table})"),
    marked("no SMBIOS table here"),
    marked("only root may read the firmware's memory table here"),
    marked("no power supply in /sys/class/power_supply (usual for desktops and virtual machines)"),
    marked("neither the firmware nor a device tree names this machine"),
    marked("only a device that is asked knows what is free now"),
    marked("the kernel exposes no topology: every thread is counted as a core"),
    marked("this kernel gives no processor name and the part number is not in our table"),
    marked("the kernel exposes no cache description"),
    marked("the SMBIOS table names no memory module"),
    marked("the SMBIOS table names no populated memory module with a speed"),
    # a need
    marked("{option} {value} is out of range; it must be between {least} and {limit}"),
    marked("{option} '{text}' is not an amount of memory; write it like 6GB, 5.5GiB or 800M"),
    marked(
        "context {context} is too short for {prompt} prompt tokens and {answer} answer tokens; it must be at least "
        "{least}"
    ),
    # a model
    marked("no published score of this model is known"),
    marked("no {axis} score: read off the general one"),
    marked("scores are those of {model}"),
    marked("only vendor-reported scores"),
    marked("its languages are not known"),
    marked("not made for {languages}: {share} of the quality is counted"),
    # an export
    marked(
        "the KV cache of {type}: start the server with OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={same}"
    ),
    marked("the KV cache of {k}/{v}: set it in the app as well"),
    marked("threads and micro-batch: set them in the app, under the model's load settings"),
    marked("{threads} threads for prompts: {program} has one number for both"),
)


def translated(text: str) -> str:
    """The text in the language in use, as it is where that is English or no sentence is known that it was made from."""
    if current() == "en" or not text:
        return text
    return "\n".join(_sentence(line) for line in text.split("\n"))


def _sentence(text: str) -> str:
    whole = _(text)
    if whole != text:
        return whole
    for pattern, sentence in _patterns():
        if (found := pattern.fullmatch(text)) is not None:
            parts = {name: _joined(value) for name, value in found.groupdict().items()}
            return _(sentence).format(**parts)
    return text


def _joined(text: str) -> str:
    """A value, or several sentences in a row."""
    return "; ".join(_sentence(part) if " " in part else part for part in text.split("; "))


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The sentences with fields; the longest words first, so that the most particular is found."""
    with_fields = [sentence for sentence in SENTENCES if "{" in sentence]
    with_fields.sort(key=lambda sentence: -len(re.sub(r"\{\w+\}", "", sentence)))
    return tuple((re.compile(_expression(sentence)), sentence) for sentence in with_fields)


def _expression(sentence: str) -> str:
    return "".join(
        re.escape(words) + ("" if name is None else f"(?P<{name}>.*?)")
        for words, name, _form, _conversion in string.Formatter().parse(sentence)
    )
