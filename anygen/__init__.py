"""anygen: any-to-any generation."""
