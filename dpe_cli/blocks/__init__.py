"""Blocks: what sources yield and the loader takes."""
