"""Data sets as people have them: one typed record, a reader for each format."""
