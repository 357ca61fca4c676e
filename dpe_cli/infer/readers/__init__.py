"""How inference reads each kind of source."""
