"""What users call: any-to-any generation, its events and replies, and embedding."""
