"""One screen a file: the steps of the wizard, and what opens on top of them."""
