"""Brings sources and the loader together: extracts, what they loaded, and rejects that are corrected."""
