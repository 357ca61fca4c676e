"""Which `file_format` has which options."""

from __future__ import annotations

from dpe_cli.sources.options.base import External
from dpe_cli.sources.options.files import CsvFiles, ExcelFiles, FixedWidthFiles, JsonFiles, JsonLines, ParquetFiles
from dpe_cli.sources.options.queries import Rest, Singer, Sql

FORMATS: dict[str, type[External]] = {
    "csv": CsvFiles,
    "jsonl": JsonLines,
    "json": JsonFiles,
    "parquet": ParquetFiles,
    "excel": ExcelFiles,
    "fixed_width": FixedWidthFiles,
    "sql": Sql,
    "rest": Rest,
    "singer": Singer,
}
