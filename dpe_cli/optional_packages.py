"""Optional packages that only some sources need: imported where they are used, with a message that names a missing one."""

from __future__ import annotations

import importlib
from types import ModuleType

from dpe_cli.errors import UsageError

# The extra in pyproject.toml that installs each module.
EXTRAS = {
    "adlfs": "az",
    "duckdb": "duckdb",
    "fsspec": "s3",
    "gcsfs": "gs",
    "httpx": "http",
    "openpyxl": "excel",
    "paramiko": "sftp",
    "s3fs": "s3",
    "sqlalchemy": "sql",
}


def needed(module: str, *, by: str) -> ModuleType:
    """
    Import a package that an extra installs; `by` names what needs it.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        extra = EXTRAS[module]
        raise UsageError(
            f"{by}: needs the package {module}; install it with dpe's extra {extra}: pip install 'data-provisioning-engine[{extra}]'"
        ) from error
