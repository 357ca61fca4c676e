"""The dbt project in which `dpe extract` loads the orders: a source per file, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from loaders import source_name
from orders import COLUMNS, Orders

_REPOSITORY = Path(__file__).parent.parent


def write(directory: Path, files: Iterable[Orders]) -> None:
    """Write the project, with the connection that the repository's own project uses."""
    models = directory / "models"
    models.mkdir(parents=True, exist_ok=True)
    shutil.copy(_REPOSITORY / "profiles.yml", directory)
    _write(directory / "dbt_project.yml", {"name": "bench", "version": "1.0.0", "profile": "dpe", "model-paths": ["models"]})
    tables = [_table(orders) for orders in files]
    _write(models / "_bench__sources.yml", {"sources": [{"name": "bench", "schema": "staging", "tables": tables}]})


def _table(orders: Orders) -> dict[str, object]:
    return {
        "name": source_name(orders),
        "external": {
            "location": str(orders.path),
            "file_format": "csv",
            "disposition": "replace",
            "rejects": {"max_rows": orders.records, "max_ratio": 1},
        },
        "columns": [{"name": name, "data_type": data_type} for name, data_type in COLUMNS.items()],
    }


def _write(path: Path, content: dict[str, object]) -> None:
    text = json.dumps(content, indent=2)  # also valid YAML
    # dpe parses the project again when a file is newer than its manifest, so unchanged files are not rewritten.
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
