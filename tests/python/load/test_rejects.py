"""How many rejects an extract tolerates."""

from __future__ import annotations

import psycopg
import pytest
from support.staged_source import Stage

from dpe_cli.errors import RejectLimitError
from dpe_cli.ingest import loads, rejects
from dpe_cli.load import rejects as module

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
    """Neither rows nor loads are visible; the message and the ledger show the first bad records, and no error in the ledger has values."""
    source = stage("id integer, note text", rejects=limits).deliver(CSV)

    with pytest.raises(RejectLimitError) as caught:
        source.extract()

    advice = "nothing was loaded, correct the input or raise the limit in the source's external block"
    bad = [f'  a.csv, line {line}, column id: invalid input syntax for type integer: "x"' for line in (4, 6, 9)]
    assert "\n".join([f"{source.table.source}: {message}; {advice}", *bad]) == str(caught.value)
    assert (0, ["failed"]) == (source.count(), source.statuses())
    assert [("a.csv", line, None, "x,a") for line in (4, 6, 9)] == source.rejects("refused_location, position, load_id, raw")
    assert [] == source.ledger("select * from dpe.loads where source = %s")
    assert [] == source.slices(attached=False)
    assert [(f"{source.table.source}: {message}; {advice}",)] == source.ledger("select error from dpe.extracts where source = %s")


def test_a_refused_delivery_keeps_its_first_rejects(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the next extract: those of a second refused delivery take their place. They do not count as loaded, and are not exported."""
    monkeypatch.setattr(module, "KEPT_OF_REFUSED", 2)
    source = stage("id integer, note text", rejects={"max_rows": 2}).deliver("id,note\n1,a\nx,a\n", "good.csv")
    name, wanted = source.table.source, {source.table.source: source.source}
    [load] = source.extract().loads
    refused = source.deliver(CSV, "bad.csv")

    with pytest.raises(RejectLimitError):
        refused.extract()
    first = loads.rejects(source.server, source=name, load_id=None, limit=1, with_obsolete=False)
    listed = loads.rejects(source.server, source=name, load_id=None, limit=9, with_obsolete=False)
    failed = loads.extracts(source.server, source=name, limit=1)[0]

    assert (["bad.csv"], 3) == ([reject.location for reject in first], first.total)
    assert [("bad.csv", 4, None, failed.extract_id), ("bad.csv", 6, None, failed.extract_id), ("good.csv", 3, load.load_id, None)] == [
        (reject.location, reject.position, reject.load_id, reject.refused_extract_id) for reject in listed
    ]
    assert listed[:2] == loads.extract(source.server, failed.extract_id)[2]
    assert listed[0] == loads.reject(source.server, listed[0].reject_id)
    assert (0, 0) == (failed.rows_loaded, failed.rows_rejected)
    assert 1 == rejects.export(wanted, source.server, name, project_dir=source.directory).count

    with source.server.connect("loader") as connection:
        assert (0,) == connection.execute("select count(*) from dpe.rejects").fetchone()
    with source.server.connect("admin") as connection:
        connection.execute("set role dpe_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select from dpe.rejects")

    with pytest.raises(RejectLimitError):
        refused.deliver(CSV.replace("x", "y"), "bad.csv").extract()
    again = loads.rejects(source.server, source=name, load_id=None, limit=9)
    assert ["y,a", "y,a", "x,a"] == [reject.raw for reject in again]


@pytest.mark.parametrize("corrected", ["id,note\n5,b\n", None], ids=["another delivery", "nothing"])
def test_the_rejects_of_a_refused_delivery_are_gone_with_it(stage: Stage, corrected: str | None) -> None:
    """If the next extract loads a corrected file, or if the file is gone and nothing is new."""
    source = stage("id integer, note text", rejects={}).deliver("id,note\n1,a\n", "good.csv")
    source.extract()
    with pytest.raises(RejectLimitError):
        source.deliver(CSV, "bad.csv").extract()
    kept = len(source.rejects())
    (source.directory / "bad.csv").unlink()
    if corrected:
        source.deliver(corrected, "bad.csv")

    source.extract()

    assert (3, []) == (kept, source.rejects())


def test_the_limits_are_those_of_the_extract(stage: Stage) -> None:
    """The files of an extract are counted together."""
    source = stage("id integer, note text", rejects={"max_rows": 5})
    source.deliver(CSV, "a.csv").extract()

    source.deliver(CSV + "11,b\n", "b.csv").extract()
    with pytest.raises(RejectLimitError, match=r"c\.csv, line 4"):
        source.deliver(CSV + "12,c\n", "c.csv").deliver(CSV + "13,d\n", "d.csv").extract()

    assert 15 == source.count()
