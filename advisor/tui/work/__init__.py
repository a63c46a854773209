"""What takes long, in threads: each module calls the core and posts messages."""
