"""Loads blocks: writers, repair, staging tables and the ledger."""
