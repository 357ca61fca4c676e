"""The commands of `dpe`, one module per command or group."""
