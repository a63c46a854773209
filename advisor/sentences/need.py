"""What is said of a need that cannot be met as it is written."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked("{option} {value} is out of range; it must be between {least} and {limit}"),
    marked("{option} '{text}' is not an amount of memory; write it like 6GB, 5.5GiB or 800M"),
    marked(
        "context {context} is too short for {prompt} prompt tokens and {answer} answer tokens; it must "
        "be at least {least}"
    ),
    marked("task '{task}' is unknown; choose one of {choices}"),
    marked("{error}, or 'now' or 'cleared'"),
    marked("language '{text}' is not a code; write it like ja, en or de (ISO 639)"),
    marked("family '{word}' is not in the catalog; choose of {choices}"),
    marked(
        "language '{code}' is in no model's list; codes are ISO 639-1, such as ja, zh, ko, en: choose of "
        "{choices}"
    ),
    marked("license '{word}' is not in the catalog; choose {classes} or one of {licenses}"),
    marked("backend '{backend}' is unknown; choose one of {choices}"),
    marked("'{device}' has no accelerator for backend '{backend}'; it has {choices}"),
    marked("the device"),
    marked("KV cache type {type}: known are {choices}"),
    marked("{option} '{text}' is no KV cache type; choose one of {choices}"),
    marked("{model} cannot have a KV cache of {k}/{v}: {reason}"),
    marked("{what} of {size} numbers a head are no multiple of {type}'s blocks of {block}"),
    marked("latent attention keeps one vector for keys and values: {k} and {v} must be equal"),
    marked("offload-layers {layers}: there is no accelerator to offload to"),
    marked("{option} {value} is out of range; it must be between 1 and {limit}"),
    marked("{option} {value} is out of range; it must be between 0 and {limit}"),
)
