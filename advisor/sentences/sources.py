"""What is said of weights to build from, here and on the Hub."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked("{repository} holds weights that were trained again for a quantization"),
    marked("{repository} has several {tag} GGUFs of different models"),
    marked("{name} of {repository} is larger than 50 GB"),
    marked("{name} of {repository} has the size of another model"),
    marked("{repository} has no {tags} GGUF"),
    marked("{repository} has no config.json"),
    marked("{repository} has no safetensors"),
    marked("{repository} has an incomplete set of safetensors"),
    marked("{repository} holds {type} weights: they are quantized already"),
    marked("{revision} is no revision: give a branch, a tag or a commit"),
    marked("{repository} is no repository of the Hub"),
    marked("{repository} is gated, without access"),
    marked("{repository} is not in the cache"),
    marked("the Hub could not be asked ({error}); taken from the cache"),
    marked("{error}; nothing that could be used is in the cache"),
    marked("no {what} in the Hub's cache {cache}, and asking the Hub needs the network, which {forbidden}"),
    marked("--offline, {setting} or {switch} forbids"),
    marked("full-precision weights"),
    marked("published {quant} GGUF"),
    marked("no {what} found: {hint}"),
    marked("build one instead"),
    marked("give a GGUF (F32, F16, BF16) or a folder with safetensors"),
    marked("{what} needs the network, which {forbidden}"),
    marked("installing the converter"),
    marked("{repository} at {where}"),
    marked("{about} answered with another commit than {revision}"),
    marked(
        "{about} does not say the size and hash of {name}, so that it could not be checked: use another "
        "HF_ENDPOINT"
    ),
    marked("{about} sends from one address to the next without an end"),
    marked("the server answered {status}"),
    marked("the server waited too long"),
    marked("the server has had too many requests"),
    marked("the server failed (500)"),
    marked("the server behind the proxy failed (502)"),
    marked("the server is not available (503)"),
    marked("the server behind the proxy did not answer (504)"),
    marked("the connection failed ({error})"),
    marked("the connection was cut"),
    marked("{repository} has no such revision"),
    marked("{repository} has no file {name}"),
    marked(
        "{where} does not accept the token (it may be mistyped or expired): set HF_TOKEN, or log in "
        "again with 'hf auth login'"
    ),
    marked("{where} has no {what}{hint}"),
    marked(", or it is private: log in with 'hf auth login' or set HF_TOKEN"),
    marked("{name} of {repository}"),
    marked("{where} does not let this token read {what}: it needs read access to it"),
    marked("{where} answered {status} for {what}"),
    marked(
        "{repository} is gated: accept its licence at {page}, then log in with 'hf auth login' or set "
        "HF_TOKEN"
    ),
    marked(
        "{repository} is gated and this token's account has no access to it yet: accept its licence at "
        "{page} with the same account (some are granted by hand; a fine-grained token must include gated "
        "repositories)"
    ),
    marked("asking the Hub needs the network, which {forbidden}"),
    marked(
        "the token for the Hub cannot be had ({error}): set HF_TOKEN, or log in again with 'hf auth login'"
    ),
    marked("the token for the Hub has characters that no token has: set HF_TOKEN again"),
    marked("{about}: {error} ({failures} times in a row)"),
    marked("{about}: {error}, and asks to wait {seconds} s"),
    marked("{error}; trying again in {seconds} s"),
    marked("the Hub's answer is larger than any list of files"),
    marked("{about} answered with a web page: a proxy or a log-in page may be in between"),
    marked("{about} gave an answer that is no list of files ({error})"),
    marked("{about} has been disabled"),
    marked(
        "{name} of {repository} is not in the Hub's cache{wrong}: fetching it needs the network, which "
        "{forbidden}"
    ),
    marked("({name} there had another content than the Hub announced)"),
    marked(
        "{repository}: {size} are still to come, and {place} has {free} free; free some, or set HF_HOME "
        "to a folder on another disk"
    ),
    marked("the Hub's cache {cache} cannot be written ({error}): set HF_HOME to a folder that can"),
    marked("{index} of {repository} names {name}, which is not there"),
    marked("another process is downloading it"),
    marked(
        "the disk of {cache} is full, with {so_far}; free some, or set HF_HOME to a folder on another disk"
    ),
    marked(
        "{name} of {repository} came with another hash than the Hub announces (SHA-256 {digest}...): it "
        "was removed; try again, or use another HF_ENDPOINT"
    ),
    marked("{error}; {so_far}, and the same command goes on from there"),
    marked("{here} of {all} here"),
    marked("the server did not send the part that was asked for"),
    marked("the address that the Hub gave for the file was refused"),
    marked(
        "{name} of {repository} comes as {what} instead of {size} bytes: a proxy or a log-in page may be "
        "in between"
    ),
    marked("more bytes"),
    marked("a web page"),
    marked("{size} bytes"),
    marked("{path} does not exist: give a GGUF file or a folder with safetensors"),
    marked("{path} is one file of a model: give its folder, which has config.json too"),
    marked("{path} is no language model but {kind}"),
    marked("an image encoder"),
    marked("{path} is a folder with GGUF files: give one of them ({name})"),
    marked("{path} is one of {parts} parts, of which {missing} is missing beside it"),
    marked("{path} has {there} tensors in its parts and should have {claimed}"),
    marked("{path} has no weight matrices: it is no model to quantize"),
    marked(
        "{path} is quantized already (mostly {type}): quantizing it again loses quality a second time, "
        "and nothing measured with it would be true of the model; use an F32, F16 or BF16 GGUF, or "
        "safetensors"
    ),
    marked("{folder} lacks {missing} of {all} weight files ({name}): download it again"),
    marked("{folder} has {count} safetensors and no {index} that says which belong together"),
    marked(
        "{folder} has its weights only in pickled files (*.bin), which can run code when they are "
        "opened: use safetensors"
    ),
    marked("{folder} has no safetensors"),
    marked("{index} is too large for an index"),
    marked("{index} is no index of safetensors: {error}"),
    marked("{index} names no files"),
    marked("{index} names {name}, which is no safetensors file beside it"),
    marked(
        "the weights in {folder} are quantized already ({what}): quantizing them again loses quality; "
        "use the full-precision model"
    ),
    marked("{config} is too large for a configuration"),
    marked("{folder} has no config.json: it is no folder of a Hugging Face model"),
    marked("{config} is no JSON: {error}"),
    marked("{config} is no configuration of a model"),
    marked("HF_ENDPOINT is no web address: set it to one like https://huggingface.co, or unset it"),
)
