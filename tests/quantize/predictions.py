"""A process that prints what a GGUF predicts after some tokens: `python -m tests.quantize.predictions FILE 1 2 3`.

Logits of the last token as a JSON array. Run by tests, which must survive it.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def predictions(path: Path, tokens: Sequence[int]) -> list[float]:
    """The logits after `tokens`, from a process of its own."""
    command = [sys.executable, "-m", __name__, str(path), *map(str, tokens)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120)
    logits: list[float] = json.loads(done.stdout)
    return logits


def main() -> None:
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    path, tokens = sys.argv[1], [int(token) for token in sys.argv[2:]]
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit("the model does not load")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = 64
    context = llama_cpp.llama_init_from_model(model, params)
    batch = (llama_cpp.llama_token * len(tokens))(*tokens)
    if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(batch, len(tokens))):
        raise SystemExit("llama_decode failed")
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    print(json.dumps([logits[i] for i in range(n_vocab)]))
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)


if __name__ == "__main__":
    main()
