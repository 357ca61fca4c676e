"""Looks at a source and writes its YAML."""
