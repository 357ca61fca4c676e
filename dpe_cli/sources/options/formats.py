"""The options class of each `file_format`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dpe_cli.sources.options.base import External, resolve

# A format of files adds a line: its options class names what opens its files, and what splits its rejected records.
_CLASSES = {
    "csv": "dpe_cli.sources.options.files:CsvFiles",
    "jsonl": "dpe_cli.sources.options.files:JsonLines",
    "json": "dpe_cli.sources.options.files:JsonFiles",
    "parquet": "dpe_cli.sources.options.files:ParquetFiles",
    "excel": "dpe_cli.sources.options.files:ExcelFiles",
    "fixed_width": "dpe_cli.sources.options.files:FixedWidthFiles",
    "sql": "dpe_cli.sources.options.queries:Sql",
    "rest": "dpe_cli.sources.options.queries:Rest",
    "singer": "dpe_cli.sources.options.queries:Singer",
}


class _Formats(Mapping[str, type[External]]):
    """The options classes by format; a class is imported when it is looked up."""

    def __getitem__(self, name: str) -> type[External]:
        return resolve(_CLASSES[name])  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


FORMATS: Mapping[str, type[External]] = _Formats()
