"""Many devices at once: the same decision, streaming, over processes or on Ray."""
