"""The commands, one module each: parse options, call one function, return its result."""
