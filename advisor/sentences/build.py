"""What is said of a build: its room and memory, its folder, its tensors, its importance matrix."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked(
        "the disk at {disk} became full ({words}), and nothing that was begun is left on it: free some, "
        "or give --out on another disk"
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
        "no slice of this model fits: {memory} of memory and {disk} in {folder} are free; close "
        "programs, or set TMPDIR to a folder on a disk with more room"
    ),
    marked(
        "{model}:{quant} needs {needed} here, and there is only {available}; 'slm-advisor recommend' "
        "shows what fits"
    ),
    marked("{target} is there and is no build: move it away, or give another --out"),
    marked("{target} is built already: --replace builds it again, --out puts it elsewhere"),
    marked("another build of {target} is under way{who}: wait for it, or end it"),
    marked("the engine cannot make a {quant} of it: {error}"),
    marked("the engine cannot make a {quant} of {model}: {error}"),
    marked("an importance matrix was given together with an option that does without one"),
    marked("{quant} cannot be made without an importance matrix"),
    marked("{quant} needs an importance matrix"),
    marked("--ready takes a published file as it is: no source and no types of your own"),
    marked("{name} is one of {parts} parts; without --ready the variant is built here, in one"),
    marked("{changed} of {all} tensors have another type than in the catalog's {quant}, since {why}"),
    marked("the recipe says so"),
    marked("there is an importance matrix"),
    marked(
        "comparing {built} and {source} takes {needed} GB, {free} GB are free: close other programs, or "
        "take a smaller --context"
    ),
    marked("'{text}' is no override; write it like 'ffn_down=Q6_K'"),
    marked("'{pattern}' is no regular expression: {error}"),
    marked("{name} is missing"),
    marked("{name} is one too many"),
    marked("{name} has shape {found}, not {wanted}"),
    marked("{name} has type {found}, not {wanted}"),
    marked("{name} is not what the catalog expects: {shown}"),
    marked("'{text}' is no tensor type; known: {known}"),
    marked("unknown quantization {text}; {hint}"),
    marked("nearest: {names}"),
    marked("known: {names}"),
    marked("{path} is a GGUF file but no importance matrix"),
    marked("{path} has no counts for {name}, or in a type that is not known"),
    marked("{path} has {count} counts for {name}, which do not divide its sums"),
    marked("{path} has counts for {name} that are no counts"),
    marked("{path} holds no data"),
    marked("{path} lacks {key}: it was not written by llama-imatrix, or is damaged"),
    marked("{path} is no importance matrix, or is cut off"),
    marked("{path} is no importance matrix: it claims {value} at byte {place}"),
    marked("(process {number})"),
    marked(
        "GPTQ starts from safetensors, and {source} is none: give --source the folder with config.json, "
        "the tokenizer and the safetensors"
    ),
)
