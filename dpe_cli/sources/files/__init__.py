"""Files as sources: finding them, decompressing them, and one module per format."""
