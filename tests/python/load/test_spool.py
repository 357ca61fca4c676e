"""A list that moves to a file when it grows."""

from __future__ import annotations

import pytest

from dpe_cli.load import spool
from dpe_cli.load.spool import Spool


@pytest.mark.parametrize("limit", [1_000_000, 50], ids=["in memory", "in a file"])
def test_items_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """As often as requested, and with more items added in between."""
    monkeypatch.setattr(spool, "_BYTES_IN_MEMORY", limit)
    kept: Spool[str] = Spool()
    kept.extend(["a", "b"])
    kept.extend([])
    assert ["a", "b"] == list(kept)

    kept.extend([f"item {number}" for number in range(100)])
    next(iter(kept))
    kept.extend(["z"])

    assert ["a", "b", *(f"item {number}" for number in range(100)), "z"] == list(kept)
    assert 103 == len(kept)


def test_memory_does_not_grow_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items over the limit are in the file."""
    monkeypatch.setattr(spool, "_BYTES_IN_MEMORY", 1000)
    kept: Spool[bytes] = Spool()
    kept.extend([b"x" * 500])
    in_memory = kept._file._rolled  # type: ignore[attr-defined]
    kept.extend([b"x" * 600])

    assert (False, True) == (in_memory, kept._file._rolled)  # type: ignore[attr-defined]
