"""toybox."""
