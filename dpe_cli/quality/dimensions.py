"""TODO."""

from __future__ import annotations

DIMENSIONS = ("completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness")
