"""HTTP for sources: requests with retries, and downloads."""
