"""Frozen parts of a stage computed once: shards on disk, an index, and training from them alone."""
