"""What the sources share when they read."""
