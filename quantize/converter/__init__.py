"""Conversion of safetensors to GGUF: an environment apart, a folder made safe, one process, and its result checked."""
