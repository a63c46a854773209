"""Where full-precision weights come from: a local GGUF, a local Hugging Face folder, or the Hub.

`find.find_source` and `find.find_ready` plan: they read headers and ask the Hub for lists of files, and download
nothing. `fetch.fetch` brings what was planned into the Hub's own cache and checks every file. What crosses the
border between the two is a `source.Source`.

`choose` picks files from a `listing` and is pure; `hub` asks, `download` carries, `cache` knows the cache's layout,
`local` and `safetensors` read what is on disk, `settings` reads the environment as huggingface_hub does. Names,
sizes and headers that come from outside are believed only once they are parsed.
"""
