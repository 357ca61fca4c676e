"""Rules, what they found, and the rows that they keep out."""
