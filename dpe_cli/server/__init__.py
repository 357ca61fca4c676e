"""The PostgreSQL that dpe works in."""
