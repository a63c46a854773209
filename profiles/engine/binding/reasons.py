"""Why the engine said no, in words of its user, from the last lines of its log."""

from __future__ import annotations

import re

_REASONS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (  # the first that is found counts
        (
            r"failed to allocate|[Cc]annot allocate|insufficient memory|bad_alloc|out of memory",
            "memory ran out",
        ),
        (r"failed to open GGUF file '.*' \((.*)\)", "it cannot be opened ({0})"),
        (r"failed to read magic|invalid magic characters", "it is not a GGUF file"),
        (
            r"not within the file bounds|exceeds remaining file size|failed to read (?:header|key-value|tensor)",
            "it is cut off or damaged; get it again",
        ),
        (
            r"bad GGUF version|GGUFv1 is no longer|GGUF file is version",
            "its version of GGUF is not supported",
        ),
        (
            r"unknown model architecture: '(.*)'",
            "this engine does not know the architecture {0}; a newer llama-cpp-python may",
        ),
        (r"quantized V cache (?:requires|was requested)", "a quantized V cache needs flash attention"),
        (
            r"([KV]) cache type (\w+) with block size (\d+) does not divide n_embd_head_[kv]=(\d+)",
            "a {0} cache of {1} packs {2} numbers at a time, which does not divide its heads of {3}",
        ),
    )
)

# The function that speaks and, from an exception, where it was caught: "llama_model_load: error loading model: ".
_PREFIX = re.compile(r"^\w+: (?:error loading model: |failed to initialize the context: )?")
_SAYS_NOTHING = re.compile(r"failed to load model$")


def reason(log: str) -> str:
    """The cause that the end of `log` tells, or else what the engine said last."""
    lines = log.strip().splitlines()
    end = "\n".join(lines[-8:])
    for pattern, words in _REASONS:
        if found := pattern.search(end):
            return words.format(*found.groups())
    telling = [line for line in lines if not _SAYS_NOTHING.search(line)]
    return _PREFIX.sub("", telling[-1]) if telling else "it does not say why"
