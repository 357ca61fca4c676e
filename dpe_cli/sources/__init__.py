"""Sources of records; each yields blocks."""
