"""Files as sources: finding them, decompressing them, and one module per format; sources/options/formats.py lists the formats."""
