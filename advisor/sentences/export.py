"""What is said of a deployment manifest and of files for other programs."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked(
        "the KV cache of {type}: start the server with OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={same}"
    ),
    marked("the KV cache of {k}/{v}: set it in the app as well"),
    marked("threads and micro-batch: set them in the app, under the model's load settings"),
    marked("{threads} threads for prompts: {program} has one number for both"),
    marked("{model}:{quant} cannot be pinned for this device: {reasons}"),
    marked("it would fit with {change}"),
    marked(
        "{folder} holds a GPTQ checkpoint, which the engine does not run: only a GGUF can be pinned and "
        "verified"
    ),
    marked(
        "the bench of {path} has {count} runs with different settings: pin needs one; run it again with "
        "the settings to deploy"
    ),
    marked("--replace writes over it"),
    marked("the environment of llama-server"),
    marked("{name} is no deployment manifest: {error}"),
    marked("{name} is no deployment manifest: its schema is {schema}; 'slm-advisor pin' makes one"),
    marked("{name} has schema version {version}, and this program reads {known}"),
    marked("update it"),
    marked("pin the deployment again"),
    marked(
        "{name} was changed after it was pinned: its digest is not that of its content; fetch it again, "
        "or pin the deployment again to change what it requires"
    ),
    marked("{name} has a KV cache of type {type}, which the engine does not know"),
    marked("{name} names a file that cannot be: {file}"),
    marked("{name} has {count} deployments, and none of rank {rank}"),
)
