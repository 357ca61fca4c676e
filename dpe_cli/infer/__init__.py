"""Inspects a source and writes its YAML."""
