"""Brings sources and the loader together: extracts, their loads, and corrections of rejects."""
