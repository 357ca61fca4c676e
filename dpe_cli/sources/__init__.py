"""Where records come from; every source yields blocks."""
