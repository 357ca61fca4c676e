# mypy: disable-error-code="comparison-overlap"
# Numbers of a balance are Decimal, which compares with int.
from __future__ import annotations

import dataclasses
import json
import multiprocessing
import random
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.dbt_projects import Silence
from support.result_schemas import check_report
from support.shop import Shop
from support.staged_source import Stage

from dpe_cli.blocks.csv_grammar import Dialect, split
from dpe_cli.cli import main, report
from dpe_cli.cli.report import Report
from dpe_cli.errors import ContractError, ExtractError, InputError, RejectLimitError, UnknownNameError
from dpe_cli.ingest import loads, rejects
from dpe_cli.ingest.extract import ExtractSummary, extract
from dpe_cli.ingest.loads import LoadsError
from dpe_cli.ingest.rejects import Export
from dpe_cli.load import corrections as loading
from dpe_cli.load.inputs import LoadRequest, RejectLimits
from dpe_cli.load.result import ExtractResult
from dpe_cli.pipeline import validate
from dpe_cli.quality import reconciliation
from dpe_cli.quality.reconciliation import Balance
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import system_context
from dpe_cli.sources.files import find

SOURCES = "models/raw/_shop__sources.yml"
HEADER = '"_reject_id","_reject_reason","_reject_record","order_id","shop","amount"'
fork = multiprocessing.get_context("fork")


@pytest.fixture
def rejected(shop: Shop) -> Shop:
    """Give the shop two records that could not be loaded, in a file with its columns in another order."""
    _deliver(shop, "shop,amount,order_id\nHA,forty,4\nHA,50,5\nUA,sixty,6\n")
    return shop


def _deliver(shop: Shop, content: str, declared: str = "") -> None:
    text = (shop.directory / SOURCES).read_text(encoding="utf-8")
    text = text.replace("disposition: append}", f"disposition: append, rejects: {{max_rows: 1000}}{declared}}}")
    shop.write({SOURCES: text, "data/orders/wednesday.csv": content})
    _extract(shop)


def _extract(shop: Shop) -> ExtractSummary:
    summary = extract(shop.directory, shop.server, [shop.project.sources["shop.orders"]], Silence())
    assert [] == summary.refused
    return summary


def _export(shop: Shop, wanted: str = "shop.orders") -> Export:
    return rejects.export(shop.project.sources, shop.server, wanted, project_dir=shop.directory)


def _correct(shop: Shop, *corrections: tuple[str, str], export: Export | None = None) -> Path:
    """Write the exported rejects with corrections, as a person would."""
    text = "\n".join([*(export or _export(shop)).records, ""])
    for wrong, right in corrections:
        assert wrong in text
        text = text.replace(wrong, right)
    path = shop.directory / "corrected.csv"
    path.write_text(text, encoding="utf-8")
    return path


def _replay(shop: Shop, path: Path, wanted: str = "shop.orders") -> ExtractResult:
    return rejects.replay(shop.project.sources, shop.server, wanted, path, project_dir=shop.directory)


def _corrected(shop: Shop) -> Path:
    return _correct(shop, (",forty", ",40"), (",sixty", ",60"))


def _orders(shop: Shop) -> list[tuple[int, str, int]]:
    with shop.server.connect("loader") as connection, system_context(connection, actor="test"):
        return connection.execute("select order_id, shop, amount from raw.orders order by 1, 3").fetchall()


def _balance(shop: Shop) -> Balance:
    """Reconcile the files with staging."""
    with shop.server.connect("loader") as loader, shop.server.connect("transformer") as transformer:
        (balance,) = reconciliation.reconcile(loader, transformer, [shop.project.sources["shop.orders"]], []).balances
    return balance


def _outstanding(shop: Shop) -> list[int]:
    with shop.server.connect("loader") as connection, system_context(connection, actor="test"):
        return [reject.reject_id for reject in loading.outstanding(connection, "raw.orders")]


def test_rejects_are_exported_under_the_names_of_the_columns(rejected: Shop) -> None:
    """In the contract's order, whatever the file's; the first columns are the reject's id and the reason."""
    export = _export(rejected)

    assert HEADER == export.records[0]
    assert [
        '1,"invalid input syntax for type integer: ""forty""",,4,HA,forty',
        '2,"invalid input syntax for type integer: ""sixty""",,6,UA,sixty',
    ] == export.records[1:]
    assert (2, 0) == (export.count, export.unsplit)


def test_corrected_rejects_are_in_staging(rejected: Shop) -> None:
    """In addition to the rows loaded before, as a load of their own; brackets in the file's name match no other file."""
    path = _corrected(rejected).rename(rejected.directory / "corrected [1].csv")
    (rejected.directory / "corrected 1.csv").write_text("x\n", encoding="utf-8")
    result = _replay(rejected, path)

    assert [(4, "HA", 40), (5, "HA", 50), (6, "UA", 60)] == _orders(rejected)[3:]
    assert ["corrected [1].csv"] == [load.location for load in result.loads]


def test_a_replayed_record_is_counted_once(rejected: Shop) -> None:
    """As a record of its file that was loaded, not as a reject."""
    before = _balance(rejected)
    _replay(rejected, _corrected(rejected))
    after = _balance(rejected)

    assert (6, 2, 4, True) == (before.delivered, before.rejected, before.found, before.holds)
    assert (6, 0, 6, True) == (after.delivered, after.rejected, after.found, after.holds)


def test_a_pipeline_holds_after_a_replay(rejected: Shop) -> None:
    """Counts, reconciliation, and everything else."""
    _replay(rejected, _corrected(rejected))
    rejected.run()

    validation = validate.validate(rejected.project, rejected.server, None, Silence())
    assert [] == [fault for check in validation.checks for fault in check.faults]


def test_some_may_stay_rejects(rejected: Shop) -> None:
    """Those whose lines are deleted."""
    export = _export(rejected)
    del export.records[2]
    _replay(rejected, _correct(rejected, (",forty", ",40"), export=export))

    assert [2] == _outstanding(rejected)
    assert (1, 5, True) == ((one := _balance(rejected)).rejected, one.found, one.holds)


def test_rejects_of_json_are_corrected_in_columns(shop: Shop) -> None:
    """Like those of CSV; values are in the columns of their paths, with numbers as delivered."""
    text = (shop.directory / SOURCES).read_text(encoding="utf-8")
    text = text.replace("data/orders/*.csv, file_format: csv", "data/orders/*.jsonl, file_format: jsonl, rejects: {max_rows: 9}")
    text = text.replace("{name: shop, data_type: text}", "{name: shop, data_type: text, config: {meta: {path: $.of.shop}}}", 1)
    text = text.replace("{name: amount, data_type: integer}", "{name: amount, data_type: integer}, {name: more, data_type: jsonb}")
    records = (
        '{"order_id": 7, "of": {"shop": "U\\"A"}, "amount": "ten", "more": {"k": [1.50, "x"]}}',
        '{"order_id": 8, "amount": 8.5}',
        '{"order_id":',
    )
    shop.write({SOURCES: text, "data/orders/a.jsonl": "\n".join(records)})
    _extract(shop)

    export = _export(shop)
    seven, eight, broken = (record.partition('",')[2].partition(",")[2] for record in export.records[1:])

    assert 1 == export.unsplit
    assert ('"7","U""A","ten","{""k"": [1.50, ""x""]}"', '"8",,"8.5",') == (seven, eight)
    assert ",,," in broken
    export.records.pop()
    path = _correct(shop, ('"ten"', '"10"'), ('"8.5"', '"8"'), export=export)
    assert 2 == rejects.replay(shop.project.sources, shop.server, "shop.orders", path, project_dir=shop.directory).rows_loaded


def test_replayed_rejects_are_not_exported_again(rejected: Shop) -> None:
    """There is nothing left to correct."""
    _replay(rejected, _corrected(rejected))

    assert [HEADER] == _export(rejected).records


def test_a_reject_is_replayed_once(rejected: Shop) -> None:
    """A second time is refused, and changes nothing."""
    path = _corrected(rejected)
    _replay(rejected, path)
    before = _orders(rejected)

    with pytest.raises(ExtractError, match="reject 1 was already replayed, by load \\d+; reject 2 was already replayed"):
        _replay(rejected, path)
    assert before == _orders(rejected)


def test_a_replay_can_be_undone_and_repeated(rejected: Shop) -> None:
    """In between, the records are rejects again."""
    path = _corrected(rejected)
    result = _replay(rejected, path)
    assert result.extract_id is not None
    loads.undo(rejected.server, rejected.project.sources, result.extract_id)

    assert ([1, 2], 2, True) == (_outstanding(rejected), (one := _balance(rejected)).rejected, one.holds)
    _replay(rejected, path)
    assert ([], 6) == (_outstanding(rejected), len(_orders(rejected)))


def test_one_bad_record_stops_the_whole_replay(rejected: Shop) -> None:
    """It is named, and its reject stays as it is."""
    path = _correct(rejected, (",forty", ",40"))

    with pytest.raises(RejectLimitError) as refused:
        _replay(rejected, path)
    assert "corrected.csv: some records still cannot be loaded; nothing was replayed" in str(refused.value)
    assert "corrected.csv, line 3, column amount: invalid input syntax" in str(refused.value)
    assert ([1, 2], 4) == (_outstanding(rejected), len(_orders(rejected)))
    assert 2 == len(loads.rejects(rejected.server, source="shop.orders", load_id=None, limit=9))


@pytest.mark.parametrize(
    ("wrong", "right", "error", "message"),
    [
        ('\n2,"', '\n99,"', ExtractError, "reject 99 does not belong to shop.orders; nothing was replayed"),
        ('\n2,"', '\n1,"', InputError, "corrected.csv, line 3: reject 1 is already corrected in line 2; keep one of the two"),
        ('\n2,"', '\ntwo,"', InputError, "corrected.csv, line 3: _reject_id is 'two', which is not a number"),
        ('"_reject_id"', '"id"', ContractError, "corrected.csv, line 1: column _reject_id is missing"),
        ('"amount"', '"price"', ContractError, "column amount is missing"),
    ],
)
def test_a_file_that_names_other_rejects_is_refused(rejected: Shop, wrong: str, right: str, error: type[Exception], message: str) -> None:
    """Nothing of it is loaded."""
    path = _correct(rejected, (",forty", ",40"), (",sixty", ",60"), (wrong, right))

    with pytest.raises(error, match=re.escape(message)):
        _replay(rejected, path)
    assert ([1, 2], 4) == (_outstanding(rejected), len(_orders(rejected)))


def test_an_empty_file_is_refused(rejected: Shop) -> None:
    """It corrects nothing."""
    path = _correct(rejected, export=Export("shop.orders", (), [HEADER], 0))

    with pytest.raises(InputError, match="has no records"):
        _replay(rejected, path)


def test_a_load_may_be_named(rejected: Shop) -> None:
    """Then only its own rejects are corrected."""
    with rejected.server.connect("loader") as connection, system_context(connection, actor="test"):
        ((load_id,),) = connection.execute("select distinct load_id from dpe.rejects").fetchall()

    assert 2 == _export(rejected, str(load_id)).count
    with pytest.raises(ExtractError, match=f"reject 1 is from load {load_id}"):
        _replay(rejected, _corrected(rejected), "1")
    assert 2 == _replay(rejected, _corrected(rejected), str(load_id)).rows_loaded


@pytest.mark.parametrize(("wanted", "message"), [("shop.oders", "is not a source of the project"), ("99", "load 99: is not in the ledger")])
def test_an_unknown_source_or_load_is_refused(shop: Shop, wanted: str, message: str) -> None:
    """By both commands."""
    with pytest.raises(UnknownNameError, match=message):
        _export(shop, wanted)


def test_an_extract_is_not_undone_before_its_replays(rejected: Shop) -> None:
    """If it were extracted again, its rejects could be replayed a second time."""
    original = loads.extracts(rejected.server, source="shop.orders", limit=1)[0]
    replayed = _replay(rejected, _corrected(rejected))
    assert replayed.extract_id is not None

    with pytest.raises(LoadsError, match=f"its rejects were replayed by extract {replayed.extract_id}; undo that first"):
        loads.undo(rejected.server, rejected.project.sources, original.extract_id)
    loads.undo(rejected.server, rejected.project.sources, replayed.extract_id)
    assert 1 == loads.undo(rejected.server, rejected.project.sources, original.extract_id).rows_removed


def test_the_list_of_rejects_says_which_were_replayed(rejected: Shop) -> None:
    """And by which load."""
    result = _replay(rejected, _corrected(rejected))

    replayed_by = {reject.replayed_by for reject in loads.rejects(rejected.server, source="shop.orders", load_id=None, limit=9)}
    assert {result.loads[0].load_id} == replayed_by


def test_rejects_of_an_undone_extract_are_not_replayed(rejected: Shop) -> None:
    """Their file, and with it they, will be extracted again."""
    path = _corrected(rejected)
    newest = loads.extracts(rejected.server, source="shop.orders", limit=1)[0]
    loads.undo(rejected.server, rejected.project.sources, newest.extract_id)

    with pytest.raises(ExtractError, match="reject 1 is from load \\d+, whose rows have left staging"):
        _replay(rejected, path)


def test_records_that_cannot_be_split_are_exported_whole(shop: Shop) -> None:
    """Too many fields, or a quote that is never closed; they have to be split by hand before they are loaded."""
    _deliver(shop, 'order_id,shop,amount\n4,HA,40,50\n5,"HA,50\n')
    export = _export(shop)

    assert 2 == export.unsplit
    assert export.records[1].endswith(',"4,HA,40,50",,,')
    assert export.records[2].endswith(',"5,""HA,50",,,')
    with pytest.raises(InputError, match="corrected.csv, line 2: _reject_record still holds the record as it was delivered"):
        _replay(shop, _correct(shop))
    _replay(shop, _correct(shop, ('"4,HA,40,50",,,', ",4,HA,40"), ('"5,""HA,50",,,', ",5,HA,50")))
    assert [(4, "HA", 40), (5, "HA", 50)] == _orders(shop)[3:]


def test_records_whose_file_is_gone_are_exported_whole(rejected: Shop) -> None:
    """Only the file's header tells which column a field belongs to."""
    (rejected.directory / "data/orders/wednesday.csv").unlink()

    export = _export(rejected)
    assert 2 == export.unsplit
    assert export.records[1].endswith(',"HA,forty,4",,,')


def test_invalid_bytes_are_exported_whole(shop: Shop) -> None:
    r"""Shown as \xNN, they would be loaded as such."""
    (shop.directory / "data/orders").joinpath("thursday.csv").write_bytes(b"order_id,shop,amount\n7,\xff,70\n")
    _deliver(shop, "order_id,shop,amount\n4,HA,40\n")

    export = _export(shop)
    assert 1 == export.unsplit
    assert export.records[1].endswith(',"7,\\xff,70",,,')


def test_the_dialect_is_the_sources_own(shop: Shop) -> None:
    """A missing value stays missing, and a quoted one stays text."""
    shop.write({
        "data/orders/monday.csv": "order_id;shop;amount\n1;UA;10\n2;UA;20\n",
        "data/orders/tuesday.csv": "order_id;shop;amount\n3;HA;30\n",
    })  # fmt: skip
    _deliver(shop, "order_id;shop;amount\nfour;'NA';40\nfive;'H;A';NA\n", ", delimiter: ';', quote: \"'\", null_string: 'NA'")
    _replay(shop, _correct(shop, (";four;", ";4;"), (";five;", ";5;")))

    assert [(4, "NA", 40), (5, "H;A", None)] == [order for order in _orders(shop) if order[0] in (4, 5)]


@pytest.mark.parametrize(
    ("record", "dialect", "fields"),
    [
        ("a,b\n", Dialect(), ["a", "b"]),
        ("a,\r\n", Dialect(), ["a", ""]),
        ('"a,""b",c', Dialect(), ['"a,""b"', "c"]),
        ('"a,b', Dialect(), None),
        ('"a\nb",c', Dialect(), ['"a\nb"', "c"]),
        ('"a\\",b",c', Dialect(escape="\\"), ['"a\\",b"', "c"]),
        ("", Dialect(), [""]),
    ],
)
def test_records_are_split_as_they_are_written(record: str, dialect: Dialect, fields: list[str] | None) -> None:
    """With their quotes."""
    assert fields == split(record, dialect)


def test_a_source_that_is_replaced_keeps_its_replays_until_it_changes(shop: Shop) -> None:
    """Staging has the delivered rows and their corrections."""
    text = (shop.directory / SOURCES).read_text(encoding="utf-8")
    shop.write({
        SOURCES: text.replace("disposition: append}", "disposition: replace, rejects: {max_rows: 9}}"),
        "data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,forty\n",
    })  # fmt: skip
    _extract(shop)
    _replay(shop, _correct(shop, (",forty", ",40")))

    assert not _extract(shop).extracts[0].loads
    assert ((4, "HA", 40), True) == (_orders(shop)[-1], _balance(shop).holds)
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,41\n"})
    _extract(shop)
    assert ((4, "HA", 41), True) == (_orders(shop)[-1], _balance(shop).holds)


def test_rejects_are_replayed_on_every_version(stage_anywhere: Stage) -> None:
    """Through the engine, into a table whose tenants are protected."""
    source = stage_anywhere("id integer, note text", tenant_column="note").deliver("id,note\n1,a\nx,b\n")
    source.extract()
    ((reject_id,),) = source.rejects("reject_id")
    path = source.directory / "corrections" / "corrected.csv"
    path.parent.mkdir()
    path.write_text(f"_reject_id,id,note\n{reject_id},2,b\n", encoding="utf-8")
    (file,) = find.find(dataclasses.replace(source.external, location=str(path)), source.table.columns, project_dir=source.directory)
    order = LoadRequest(source.table, "append", RejectLimits())
    loading.Replayer(partial(source.server.connect, "loader"), order).replay(loading.Corrections(file))

    assert [(1, "a"), (2, "b")] == source.rows()
    assert 1 == source.rejects("replayed_load_id = (select max(load_id) from dpe.loads)").count((True,))


def test_a_ledger_without_replays_is_upgraded(rejected: Shop) -> None:
    """By running bootstrap again; its rejects can be replayed."""
    with rejected.server.connect("admin") as connection:
        connection.execute("alter table dpe.rejects drop column replayed_load_id")
    bootstrap_server(rejected.server)

    assert 2 == _replay(rejected, _corrected(rejected)).rows_loaded


def test_rejects_are_exported_corrected_and_replayed_at_the_terminal(
    rejected: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the manual describes."""
    monkeypatch.chdir(rejected.directory)
    for name, value in {"PGHOST": rejected.server.host, "PGDATABASE": rejected.server.database, "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    capfd.readouterr()
    assert 0 == main.run(["rejects", "export", "shop.orders"])
    exported = capfd.readouterr().out
    Path("corrected.csv").write_text(exported.replace(",forty", ",40").replace(",sixty", ",60"), encoding="utf-8")

    shown: list[Report] = []
    as_text = report._text

    def recording(result: Report) -> str:
        shown.append(result)
        return as_text(result)

    monkeypatch.setattr(report, "_text", recording)
    assert 0 == main.run(["rejects", "replay", "shop.orders", "--file", "corrected.csv"])
    assert capfd.readouterr().out.startswith("2 rejects of shop.orders replayed as extract ")
    check_report("rejects replay", shown[0])
    assert 1 == main.run(["rejects", "replay", "shop.orders", "--file", "corrected.csv"])
    assert "reject 1 was already replayed" in capfd.readouterr().err


def _killed(work: Callable[[], object], seconds: float) -> None:
    process = fork.Process(target=work)
    process.start()
    time.sleep(seconds)
    process.kill()
    process.join()


def test_a_replay_that_is_killed_is_done_or_not_at_all(shop: Shop) -> None:
    """Killed fifteen times at random moments: rows and marks agree each time, and in the end everything is replayed once."""
    chance = random.Random(15)
    _deliver(shop, "order_id,shop,amount\n" + "".join(f"{number},HA,x{number}\n" for number in range(100, 1100)))
    path = _correct(shop, *((f",x{number}\n", f",{number}\n") for number in range(100, 1100)))
    started = time.monotonic()
    result = _replay(shop, path)
    duration = time.monotonic() - started
    assert result.extract_id is not None
    loads.undo(shop.server, shop.project.sources, result.extract_id)

    outcomes: set[int] = set()
    for _ in range(15):
        _killed(lambda: _replay(shop, path), chance.uniform(0.1 * duration, 1.2 * duration))
        outcomes.add(len(_outstanding(shop)))
        assert _balance(shop).holds
        assert len(_orders(shop)) + len(_outstanding(shop)) == 1003
        if not _outstanding(shop):
            newest = loads.extracts(shop.server, source="shop.orders", limit=1)[0]
            loads.undo(shop.server, shop.project.sources, newest.extract_id)

    assert outcomes <= {0, 1000}
    _replay(shop, path)
    assert (1003, []) == (len(_orders(shop)), _outstanding(shop))


def test_a_delivery_without_a_column_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By the extract, and later by the ledger; the source's columns say in dbt's YAML that it may be missing, and what else it is called."""
    text = (shop.directory / SOURCES).read_text(encoding="utf-8")
    declared = "{name: amount, data_type: integer, config: {meta: {headers: [sum], default: 7}}}, {name: note, data_type: text}"
    text = text.replace("{name: amount, data_type: integer}", declared).replace(
        "disposition: append}", "disposition: append, missing_columns: allow}"
    )
    shop.write(
        {SOURCES: text, "data/orders/wednesday.csv": "order_id,shop\n4,HA\n", "data/orders/thursday.csv": "order_id,shop,sum\n5,HA,50\n"}
    )
    monkeypatch.chdir(shop.directory)
    for name, value in {"PGHOST": shop.server.host, "PGPORT": str(shop.server.port), "PGDATABASE": shop.server.database}.items():
        monkeypatch.setenv(name, value)

    assert 0 == main.run(["extract", "source:shop.orders"])
    said = capsys.readouterr().out
    with shop.server.connect("loader") as connection, system_context(connection, actor="test"):
        ((extract_id,),) = connection.execute("select max(extract_id) from dpe.extracts").fetchall()
    assert 0 == main.run(["loads", "show", str(extract_id)])
    shown = capsys.readouterr().out
    assert 0 == main.run(["loads", "show", str(extract_id), "--output", "json"])

    assert "shop.orders, data/orders/wednesday.csv: delivered without amount, note" in said
    assert re.search(r"\d+ +amount, note\n", shown)
    assert [["note"], ["amount", "note"]] == [load["columns_missing"] for load in json.loads(capsys.readouterr().out)["loads"]]
    assert [(4, "HA", 7), (5, "HA", 50)] == _orders(shop)[3:]
