"""A result in, text out: one file an output format."""
