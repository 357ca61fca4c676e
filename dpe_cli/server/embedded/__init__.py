"""The PostgreSQL that comes with dpe."""
