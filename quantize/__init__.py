"""The weights: what a variant is, and how it is made."""
