"""Text that is safe to show: without secrets, and without hidden characters."""
