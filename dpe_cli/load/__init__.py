"""Where records go: blocks, writers, repair, staging tables and the ledger."""
