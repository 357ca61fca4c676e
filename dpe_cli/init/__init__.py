"""New projects, and what they begin with."""
