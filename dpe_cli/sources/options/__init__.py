"""The options of `external:` blocks."""
