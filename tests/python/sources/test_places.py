"""Remote files: in S3 and on the web, recognized by their versions, and fetched completely or not at all."""

from __future__ import annotations

import gzip
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from moto.server import ThreadedMotoServer
from support.misbehaving_api import Answer, Api, Request, served
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import InputError, ProjectError
from dpe_cli.sources.files import remote
from dpe_cli.sources.http import client

CSV = b"id,note\n1,a\n2,b\n"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Run S3 on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield an empty bucket, with the environment to access it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    bucket = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").Bucket("orders")
    bucket.create()
    yield bucket
    bucket.objects.delete()
    bucket.delete()


def _source(stage: Stage, endpoint: str, location: str = "s3://orders/2024/*.csv*", **options: Any) -> StagedSource:
    defaults: dict[str, Any] = {"location": location, "file_format": "csv", "storage_options": {"endpoint_url": endpoint}}
    return stage("id integer, note text", **(defaults | options))


def test_files_of_a_bucket_are_loaded_once(stage: Stage, endpoint: str, bucket: Any) -> None:
    """Compressed or not; known ones are recognized by their versions, without fetching a byte."""
    bucket.put_object(Key="2024/a.csv", Body=CSV)
    bucket.put_object(Key="2024/b.csv.gz", Body=gzip.compress(b"id,note\n3,c\n"))
    bucket.put_object(Key="2023/old.csv", Body=b"id,note\n4,d\n")
    source = _source(stage, endpoint)

    source.extract()
    assert [(1, "a"), (2, "b"), (3, "c")] == source.rows()
    assert [("s3://orders/2024/a.csv",), ("s3://orders/2024/b.csv.gz",)] == source.ledger(
        "select location from dpe.loads where source = %s"
    )

    bucket.put_object(Key="2024/c.csv", Body=b"id,note\n5,e\n")
    again = source.extract()
    assert (1, 2) == (len(again.loads), again.skipped)


def test_a_file_named_like_the_pattern_hides_no_other(stage: Stage, endpoint: str, bucket: Any) -> None:
    """Nor does one whose name a store takes for a version of another file stand in for that one."""
    for number, key in enumerate(["[ab].csv", "*.csv", "a.csv", "b.csv"]):
        bucket.put_object(Key=f"2024/{key}", Body=f"id,note\n{number},{key}\n".encode())
    source = _source(stage, endpoint, "s3://orders/2024/[ab].csv")

    source.extract()
    assert ["[ab].csv", "a.csv", "b.csv"] == [note for _, note in source.rows()]
    source.declare(location="s3://orders/2024/*.csv")
    assert (1, 3) == ((again := source.extract()).rows_loaded, again.skipped)

    bucket.put_object(Key="2024/a.csv?versionId=1", Body=b"id,note\n5,e\n")
    source.declare(location="s3://orders/2024/*")
    with pytest.raises(InputError, match=r"^s3://orders/2024/a.csv\?versionId=1: fsspec takes this name for 'orders/2024/a.csv'; rename"):
        source.extract()


def test_a_file_with_a_long_ending_is_fetched(stage: Stage, endpoint: str, bucket: Any) -> None:
    """A store's names may be longer than a file system's."""
    bucket.put_object(Key=f"2024/a.{'x' * 300}", Body=CSV)
    source = _source(stage, endpoint, "s3://orders/2024/*")

    source.extract()

    assert 2 == source.count()


def test_the_ledger_has_references_and_no_values(stage: Stage, endpoint: str, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the location has references; a file is recognized by the location with them."""
    monkeypatch.setenv("LAKE_PREFIX", "2024-of-our-customer")
    bucket.put_object(Key="2024-of-our-customer/a.csv", Body=CSV)
    source = _source(stage, endpoint, "s3://orders/${LAKE_PREFIX}/*.csv")
    source.extract()

    assert [("s3://orders/${LAKE_PREFIX}/a.csv",)] == source.ledger("select location from dpe.loads where source = %s")
    assert 1 == source.extract().skipped


def test_the_whole_location_may_be_a_variable(stage: Stage, endpoint: str, bucket: Any, web: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed URL is a secret; a place that does not exist is named."""
    bucket.put_object(Key="2024/a.csv", Body=CSV)
    monkeypatch.setenv("LAKE_URL", "s3://orders/2024/*.csv")
    monkeypatch.setenv("WEB_URL", f"{web.url}/records/all")

    assert 2 == _source(stage, endpoint, "${LAKE_URL}").extract().rows_loaded
    web_source = stage("id integer, changed_at text", location="${WEB_URL}", file_format="json", allow_private_addresses=True)
    assert 300 == web_source.extract().rows_loaded

    monkeypatch.setenv("LAKE_URL", "ftp://orders/2024/*.csv")
    with pytest.raises(InputError, match=r"\$\{LAKE_URL\}: ftp:// is not supported for files \(did you mean sftp"):
        _source(stage, endpoint, "${LAKE_URL}").extract()


def test_known_files_are_not_fetched(stage: Stage, endpoint: str, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its version; another version is fetched, even if it has the same size."""
    bucket.put_object(Key="2024/a.csv", Body=CSV)
    source = _source(stage, endpoint)
    source.extract()
    fetched: list[str] = []
    path = remote.FetchedFile.path
    monkeypatch.setattr(
        remote.FetchedFile,
        "path",
        property(lambda self: fetched.append(self._file.location) or path.fget(self)),  # type: ignore[attr-defined,func-returns-value]
    )
    assert 1 == source.extract().skipped
    assert [] == fetched

    bucket.put_object(Key="2024/a.csv", Body=CSV.replace(b"a", b"x"))
    assert 0 == source.extract().skipped
    assert ["s3://orders/2024/a.csv"] == sorted(set(fetched))


REPLACED, PRESENT = b"id,note\n1,a\n", b"id,note\n2,b\n"


def test_what_is_replaced_before_it_is_fetched_is_loaded_later(
    stage: Stage, endpoint: str, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not recorded under the version that the listing named, under which it may come back."""
    bucket.put_object(Key="2024/a.csv", Body=REPLACED)
    source = _source(stage, endpoint)
    path = remote.FetchedFile.path

    def replaced(file: remote.FetchedFile) -> Path:
        bucket.put_object(Key="2024/a.csv", Body=PRESENT)
        return path.fget(file)  # type: ignore[attr-defined,no-any-return]

    with monkeypatch.context() as patched:
        patched.setattr(remote.FetchedFile, "path", property(replaced))
        source.extract()
    assert [(2, "b")] == source.rows()

    bucket.put_object(Key="2024/a.csv", Body=REPLACED)
    assert (1, 0) == ((again := source.extract()).rows_loaded, again.skipped)
    assert [(1, "a"), (2, "b")] == source.rows()


def test_parquet_and_zip_are_read_from_a_bucket(stage: Stage, endpoint: str, bucket: Any, tmp_path: Path) -> None:
    """Although they need random access."""
    duckdb.connect().execute(f"copy (select 1 as id, 'a' as note) to '{tmp_path}/a.parquet' (format parquet)")
    bucket.put_object(Key="a.parquet", Body=(tmp_path / "a.parquet").read_bytes())
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("one.csv", CSV)
        members.writestr("two.csv", "id,note\n3,c\n")
    bucket.put_object(Key="b.zip", Body=archive.getvalue())

    parquet = _source(stage, endpoint, "s3://orders/a.parquet", file_format="parquet")
    parquet.extract()
    assert [(1, "a")] == parquet.rows()
    zipped = _source(stage, endpoint, "s3://orders/b.zip")
    zipped.extract()
    assert [(1, "a"), (2, "b"), (3, "c")] == zipped.rows()
    assert [] == list(Path(tempfile.gettempdir()).glob("dpe-*.parquet"))


@pytest.mark.parametrize(
    ("location", "options", "fault"),
    [
        ("s3://orders/none.csv", {}, "^s3://orders/none.csv: does not exist"),
        ("s3://orders/*.none", {}, r"^s3://orders/\*.none: no file matches"),
        ("s3://nobody/a.csv", {}, "^s3://nobody/a.csv: does not exist"),
        (
            "s3://orders/a.csv",
            {"storage_options": {"endpoint_url": "http://127.0.0.1:1", "secret": "${AWS_SECRET_ACCESS_KEY}"}},
            "cannot be reached",
        ),
    ],
)
def test_a_missing_file_is_reported(stage: Stage, endpoint: str, bucket: Any, location: str, options: dict[str, Any], fault: str) -> None:
    """With the location, and without secrets."""
    del bucket
    with pytest.raises(InputError, match=fault) as caught:
        _source(stage, endpoint, location, **options).extract()
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"location": "s4://orders/a.csv"}, r"location: s4:// is not supported for files \(there are s3, gs, az, "),
        ({"storage_options": {"secret": "abc"}}, "storage_options: secret would end up in dbt's manifest"),
        ({"location": "https://me:abc@host/a.csv"}, "location: contains a password"),
    ],
)
def test_wrong_options_are_named(stage: Stage, options: dict[str, Any], fault: str) -> None:
    """When the project is read."""
    with pytest.raises(ProjectError, match=fault):
        stage("id integer, note text", **({"location": "s3://orders/a.csv"} | options))


@pytest.fixture
def web(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Serve one file, the API's records, without pauses between attempts."""
    monkeypatch.setattr(client.Client.__init__, "__kwdefaults__", {"sleep": lambda _seconds: None})
    api.records = [{"id": number, "changed_at": "x"} for number in range(300)]
    return api


def _file(stage: Stage, web: Api, style: str = "all") -> StagedSource:
    options = {"file_format": "json", "allow_private_addresses": True}
    return stage("id integer, changed_at text", location=f"{web.url}/records/{style}", **options)


def test_a_file_of_the_web_is_loaded_once(stage: Stage, web: Api) -> None:
    """By its content, wherever a redirect leads."""
    source = _file(stage, web, "moved")

    assert 300 == source.extract().rows_loaded
    assert 0 == source.extract().rows_loaded
    assert 300 == source.count()


class Release:
    """A web server whose file is replaced after the next request for its version, if `next_content` is set."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.next_content: bytes | None = None
        self.methods: list[str] = []

    def answer(self, request: Request) -> Answer:
        """Return the file, with a version that its content determines."""
        self.methods.append(request.method)
        found = Answer(self.content, headers={"ETag": f'"{self.content.hex()}"'})
        if request.method == "HEAD" and self.next_content is not None:
            self.content, self.next_content = self.next_content, None
        return found


def test_a_file_of_the_web_that_is_replaced_before_it_is_fetched_is_loaded_later(stage: Stage) -> None:
    """It is recognized by the version that came with its content; by its content, if another one was announced."""
    release = Release(REPLACED)
    release.next_content = PRESENT
    with served(release) as url:  # type: ignore[arg-type]
        source = stage("id integer, note text", location=f"{url}/a.csv", file_format="csv", allow_private_addresses=True)
        source.extract()
        assert [(2, "b")] == source.rows()

        release.content = REPLACED
        assert 1 == source.extract().rows_loaded
        release.methods.clear()
        assert 1 == source.extract().skipped

    assert ["HEAD"] == release.methods


def test_a_file_that_breaks_off_is_fetched_again(stage: Stage, web: Api) -> None:
    """From the start; if it always breaks off, nothing is loaded."""
    web.faults = [None, lambda answer: replace(answer, cut=1000)]
    assert 300 == _file(stage, web).extract().rows_loaded

    web.faults = [None, *[lambda answer: replace(answer, cut=1000)] * 5]
    with pytest.raises(InputError, match=r"/records/all: the connection failed .*\(5 attempts\)"):
        _file(stage, web).extract()


def test_a_file_at_an_internal_address_is_refused(stage: Stage, web: Api) -> None:
    """Like an API."""
    with pytest.raises(InputError, match="is in a private network, or is this machine"):
        stage("id integer", location=f"{web.url}/records/all", file_format="json").extract()
