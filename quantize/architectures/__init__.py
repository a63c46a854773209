"""What the architectures of the engine are made of: dimensions, tensors, metadata, and where they are read from."""
