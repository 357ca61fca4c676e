"""The dimensions of data quality. Each rule names one."""

from __future__ import annotations

DIMENSIONS = ("completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness")
