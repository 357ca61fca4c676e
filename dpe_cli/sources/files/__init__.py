"""Files as sources: where they are, how they are packed, and one module per format."""
