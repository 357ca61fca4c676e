"""Adopting an existing dbt project: what changes in its files, and what only a person can decide."""
