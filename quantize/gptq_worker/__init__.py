"""A process with torch in it: it quantizes with GPTQModel, loads checkpoints and compares predictions.

`client` starts it and may be imported anywhere; torch, transformers and gptqmodel are imported in the process alone.
GPTQModel changes transformers as it is imported, starts threads that do not end and takes seconds to load.
"""
