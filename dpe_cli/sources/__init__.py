"""Where records come from; every source yields CSV blocks."""
