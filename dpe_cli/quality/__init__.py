"""Rules, their results, and the rows that they quarantine."""
