"""Where blocks go: writers, repair, staging tables and the ledger."""
