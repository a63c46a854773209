"""The device: what it is, and what it can do."""
