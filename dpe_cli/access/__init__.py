"""Who may see what, and the proof: the access list, checks of the catalog, and measuring by acting as each role."""
