"""One source of facts a file."""
