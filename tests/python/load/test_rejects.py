"""How many rejects an extract tolerates."""

from __future__ import annotations

import pytest
from support.staged_source import Stage

from dpe_cli.errors import RejectLimitError

# Ten records, three of them bad.
CSV = "id,note\n" + "".join(f"{'x' if number in (3, 5, 8) else number},a\n" for number in range(1, 11))


@pytest.mark.parametrize(
    "limits",
    [{"max_rows": 3}, {"max_rows": 1000}, {"max_ratio": 0.3}, {"max_ratio": 1}, {"max_rows": 3, "max_ratio": 0.3}],
    ids=str,
)
def test_rejects_within_the_limits_are_kept(stage: Stage, limits: dict[str, float]) -> None:
    """And the others are loaded."""
    source = stage("id integer, note text", rejects=limits)

    result = source.deliver(CSV).extract()

    assert (7, 3, 3) == (source.count(), result.rows_rejected, len(source.rejects()))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "at least 3 records were rejected, more than rejects.max_rows allows (0)"),
        ({"max_rows": 0}, "at least 3 records were rejected, more than rejects.max_rows allows (0)"),
        ({"max_rows": 2}, "at least 3 records were rejected, more than rejects.max_rows allows (2)"),
        ({"max_rows": 2, "max_ratio": 1}, "at least 3 records were rejected, more than rejects.max_rows allows (2)"),
        ({"max_ratio": 0.29}, "3 of 10 records (30.00%) were rejected, more than rejects.max_ratio allows (29.00%)"),
        ({"max_ratio": 0}, "3 of 10 records (30.00%) were rejected, more than rejects.max_ratio allows (0.00%)"),
        ({"max_rows": 9, "max_ratio": 0.1}, "3 of 10 records (30.00%) were rejected, more than rejects.max_ratio allows (10.00%)"),
    ],
    ids=str,
)
def test_rejects_above_a_limit_refuse_the_extract(stage: Stage, limits: dict[str, float], message: str) -> None:
    """Neither rows nor rejects nor loads are visible; the message shows some of the bad records, and the ledger none of their values."""
    source = stage("id integer, note text", rejects=limits).deliver(CSV)

    with pytest.raises(RejectLimitError) as caught:
        source.extract()

    advice = "nothing was loaded, correct the input or raise the limit in the source's external block"
    bad = [f'  a.csv, line {line}, column id: invalid input syntax for type integer: "x"' for line in (4, 6, 9)]
    assert "\n".join([f"{source.table.source}: {message}; {advice}", *bad]) == str(caught.value)
    assert (0, [], ["failed"]) == (source.count(), source.rejects(), source.statuses())
    assert [] == source.ledger("select * from dpe.loads where source = %s")
    assert [] == source.slices(attached=False)
    assert [(f"{source.table.source}: {message}; {advice}",)] == source.ledger("select error from dpe.extracts where source = %s")


def test_the_limits_are_those_of_the_extract(stage: Stage) -> None:
    """The files of an extract are counted together."""
    source = stage("id integer, note text", rejects={"max_rows": 5})
    source.deliver(CSV, "a.csv").extract()

    source.deliver(CSV + "11,b\n", "b.csv").extract()
    with pytest.raises(RejectLimitError, match=r"c\.csv, line 4"):
        source.deliver(CSV + "12,c\n", "c.csv").deliver(CSV + "13,d\n", "d.csv").extract()

    assert 15 == source.count()
