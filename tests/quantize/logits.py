"""A process that says of each model file on standard input whether what it computes is finite.

Run by tests, which must survive it: a line with a path in, a line out ("finite", "not finite", "failed").
"""

from __future__ import annotations

import ctypes
import math
import sys


def main() -> None:
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    for line in sys.stdin:
        model = llama_cpp.llama_model_load_from_file(
            line.strip().encode(), llama_cpp.llama_model_default_params()
        )
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = 64
        context = llama_cpp.llama_init_from_model(model, params)
        n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        tokens = (llama_cpp.llama_token * 16)(*(37 * i % n_vocab for i in range(16)))
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, 16)):
            print("failed", flush=True)
        else:
            logits = llama_cpp.llama_get_logits_ith(context, -1)
            values = [logits[i] for i in range(n_vocab)]
            alive = all(map(math.isfinite, values)) and len(set(values)) > n_vocab // 2
            print("finite" if alive else "not finite", flush=True)
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


if __name__ == "__main__":
    main()
