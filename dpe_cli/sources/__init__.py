"""Sources of records; each yields blocks. A format is a line in options/formats.py, which names its options class."""
