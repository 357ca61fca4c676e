"""The wheel of dpe, as users install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import dbt_projects

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def build(directory: Path) -> Path:
    """Build the wheel in a directory, and return its path."""
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, dbt_projects.REPOSITORY], check=True)
    [wheel] = directory.glob("data_provisioning_engine-*.whl")
    return wheel
