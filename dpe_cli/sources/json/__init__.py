"""JSON for sources: documents, records and paths."""
