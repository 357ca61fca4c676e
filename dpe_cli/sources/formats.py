"""Which `file_format` has which options."""

from __future__ import annotations

from dpe_cli.sources.file_options import CsvFiles, ExcelFiles, FixedWidthFiles, JsonFiles, JsonLines, ParquetFiles
from dpe_cli.sources.options import External
from dpe_cli.sources.window_options import Rest, Singer, Sql

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
