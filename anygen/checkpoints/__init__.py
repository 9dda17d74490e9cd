"""Model folders: found by name, read strictly, written whole, every file with its hash."""
