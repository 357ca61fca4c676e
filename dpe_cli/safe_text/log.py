"""Logging of dpe, and of the libraries that it uses, without secrets."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from dpe_cli.safe_text.redaction import hide

_format_warning = warnings.formatwarning


class _Hiding(logging.Formatter):
    """Hides secrets in a whole record: its message, and its traceback if it has one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return hide(super().format(record))


def show() -> None:
    """Show dpe's log, which includes the logs of taps, on standard error."""
    log = logging.getLogger("dpe_cli")
    log.setLevel(logging.DEBUG)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Hiding())
        log.addHandler(handler)


def guard() -> None:
    """Hide secrets in what libraries log unasked, which Python writes to standard error; mostly a URL that failed."""
    if logging.lastResort:
        logging.lastResort.setFormatter(_Hiding())
    warnings.formatwarning = _hidden_warning


def _hidden_warning(*warning: Any, **options: Any) -> str:
    return hide(_format_warning(*warning, **options))
