"""Singer taps as sources."""
