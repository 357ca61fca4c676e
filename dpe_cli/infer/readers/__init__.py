"""One module per kind of source: how inference reads it."""
