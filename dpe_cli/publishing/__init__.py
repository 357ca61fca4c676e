"""Makes what was built visible to readers, and undoes that."""
