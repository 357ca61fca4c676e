"""What dpe logs, and what the libraries that it uses log and warn of: without secrets."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from dpe_cli.safe_text.redaction import hide

_format_warning = warnings.formatwarning


class _Hiding(logging.Formatter):
    """Hides secrets in all of a record: its message, and the traceback that it may have."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return hide(super().format(record))


def show() -> None:
    """Show what dpe logs, such as what taps say, on standard error."""
    log = logging.getLogger("dpe_cli")
    log.setLevel(logging.DEBUG)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Hiding())
        log.addHandler(handler)


def guard() -> None:
    """Hide secrets in what others log without being asked, which Python writes to standard error; a URL that failed, mostly."""
    if logging.lastResort:
        logging.lastResort.setFormatter(_Hiding())
    warnings.formatwarning = _hidden_warning


def _hidden_warning(*warning: Any, **options: Any) -> str:
    return hide(_format_warning(*warning, **options))
