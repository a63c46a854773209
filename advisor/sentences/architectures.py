"""What is said of configurations and metadata that describe no model, or none that is known."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked("config.json: {key} is missing"),
    marked("config.json: {key} is {value} and not a usable number"),
    marked("config.json: layer_types does not name {count} blocks"),
    marked("config.json: unknown layer_types {names}"),
    marked("{model}: {field} = {value} is out of range (at most {limit})"),
    marked("{model}: pattern {pattern} has unknown letters {letters}"),
    marked("{model}: pattern {pattern} needs {field}"),
    marked("config.json does not hold an object"),
    marked("config.json does not name a model_type"),
    marked("the model_type {type} of config.json is not known; known: {known}"),
    marked("config.json: hidden_size {size} is no multiple of {heads} attention heads"),
    marked("config.json: num_key_value_heads {kv} does not divide {heads} attention heads"),
    marked("config.json: {key} is true, which {type} has not"),
    marked("config.json: layer_types is missing"),
    marked("config.json: experts in a latent space (moe_latent_size) are not known"),
    marked("config.json: hybrid_override_pattern is {value}"),
    marked("the metadata does not name an architecture (general.architecture)"),
    marked("{name}.block_count leaves no blocks besides those for prediction"),
    marked("{name}.attention.head_count is 0 in every block"),
    marked("{model}: the file lacks the tensor {name}"),
    marked("{model}: the file has the unknown tensor {name}"),
    marked("{model}: the tensor {name} has the shape {found}; by the metadata it should be {wanted}"),
    marked("blocks of one kind differ ({names}): not described here"),
    marked("the metadata lacks {name}.{key}"),
    marked("{name}.{key} has {count} values for {blocks} blocks"),
    marked("{name}.{key} is {value} and not a usable number"),
    marked("the tensors of architecture {name} are not known; known: {known}"),
    marked("{model}: no such optional tensors: {names}; known: {known}"),
    marked("{model}: has no blocks {names} (pattern {pattern})"),
    marked("{model}: has no experts"),
)
