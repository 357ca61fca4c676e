"""Run a dbt command within this process, and put into words why it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from dpe_cli.errors import BuildError, ProjectError


def invoke(command: Sequence[str], options: Sequence[str], callbacks: Sequence[Callable[[Any], None]] = (), *, manifest: Any = None) -> Any:
    """
    Run a dbt command, which shows nothing, and return dbt's own `dbtRunnerResult`; each of `callbacks` is called with dbt's events.

    `manifest` is that of dbt's for the project, where it was read already.

    Raises:
        ProjectError: dbt cannot read the project.
        BuildError: dbt ended before it could report on its nodes.
    """
    from dbt.cli.main import dbtRunner  # it takes over a second to import

    outcome = dbtRunner(manifest=manifest, callbacks=list(callbacks)).invoke([*command, "--log-level", "none", *options])
    if outcome.exception is not None:
        raise _explained(command, outcome.exception) from outcome.exception
    return outcome


def as_json(manifest: Any) -> str:
    """Return dbt's manifest as dbt writes it to manifest.json, in a fraction of the time: dbt's own writer goes through it in Python."""
    from dbt_common.utils.encoding import JSONEncoder

    return json.dumps(manifest.writable_manifest().to_dict(omit_none=False, context={"artifact": True}), cls=JSONEncoder)


def _explained(command: Sequence[str], error: BaseException) -> BaseException:
    """Put what ended dbt into words. An interrupt stays one: dbt's runner returns it as it does errors."""
    from dbt.exceptions import CompilationError, DbtConfigError, DbtValidationError, ParsingError

    if not isinstance(error, Exception):
        return error
    said = str(error).strip()
    if " in operation " in said.partition("\n")[0]:
        return BuildError(f"dbt {command[0]}: stopped by a check before or after the build; correct what dbt says:\n{said}")
    if isinstance(error, (CompilationError, DbtConfigError, DbtValidationError, ParsingError)):
        return ProjectError(f"dbt {command[0]}: the project cannot be read; correct what dbt says:\n{said}")
    return BuildError(f"dbt {command[0]}: {said}; correct it, or run `dpe dbt {' '.join(command)}` to see all that dbt says")
