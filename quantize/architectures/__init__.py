"""What the engine's architectures are made of: dimensions, tensors, metadata, and where they are read from."""
