"""The order of work: extract, build, check, publish, document."""
