"""What a source looks like: its columns, their types and the options that read it, found by looking at its records."""
