"""Suites that grade models: the toybox directions, emergent alignment, and media of single parts."""
