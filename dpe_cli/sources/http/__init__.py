"""HTTP for sources: requests that are repeated where that helps, and downloads."""
