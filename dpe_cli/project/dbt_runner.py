"""Run dbt within this process, as dpe_transformer in a context of its own, and return the result of each node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_cli.errors import BuildError
from dpe_cli.project import dbt
from dpe_cli.project.jinja_changes import ReadManifest
from dpe_cli.project.model import selector_of
from dpe_cli.project.project import Project
from dpe_cli.safe_text.redaction import hide
from dpe_cli.safe_text.server_messages import without_details
from dpe_cli.server.server import Server

# dbt's statuses. Any other one counts as a failure, also those that a later version adds: `partial success` leaves batches unbuilt, and
# `reused` (of dbt 1.12) builds nothing in the shadow schema.
HELD = ("success", "pass", "no-op")
WARNED = ("warn",)
SKIPPED = ("skipped",)
# dbt's own shows the rows.
_UNIT_TEST_FAILED = "the rows differ from the expected ones; `dpe dbt test --select {}` shows them"


@dataclass(frozen=True)
class NodeResult:
    """
    The result of a model, seed, snapshot or test.

    `failures` is a test's number of failing rows; `message` is dbt's, without what may hold rows: PostgreSQL's details, and the
    comparison of a unit test.
    """

    unique_id: str
    name: str
    path: str
    resource_type: str
    status: str
    failures: int | None
    message: str
    seconds: float
    rule: str | None
    dimension: str | None
    because: str | None
    severity: str
    schema: str
    alias: str

    @property
    def has_failed(self) -> bool:
        """Whether it ended in an error, in a failure of an error-severity test, or was done only in part."""
        return self.status not in (*HELD, *WARNED, *SKIPPED)


def run_dbt(
    project: Project,
    server: Server,
    command: Sequence[str],
    *,
    variables: Mapping[str, object] | None = None,
    target_path: Path | None = None,
    read: ReadManifest | None = None,
    on_node: Callable[[str], None] = lambda _name: None,
) -> list[NodeResult]:
    """
    Run a dbt command, with our variables in addition to the user's; `on_node` is called with the name of each finished node.

    `target_path` is where dbt keeps what it has parsed, if not in its default place; `read` is the project as it was read before.

    Raises:
        ProjectError: dbt cannot read the project.
        BuildError: dbt ended before it could report on its nodes, or reports a failure that it does not attribute to one of them.
    """

    def on_event(event: Any) -> None:
        if event.info.name in {"NodeStart", "NodeFinished"}:
            if read is not None:
                read.look_at(event.data.node_info.unique_id)
            # Without a name if dbt cannot write the node.
            if event.info.name == "NodeFinished" and event.data.node_info.node_name:
                on_node(event.data.node_info.node_name)

    options = [*_target(target_path), *project.dbt_options_with(variables or {})]
    with _environment(server.environment()):
        outcome = dbt.invoke(command, options, [on_event], manifest=read.manifest if read else None)
    results = getattr(outcome.result, "results", None)
    if results is None and not outcome.success:
        # `docs generate` has a catalog and its errors instead.
        message = "; ".join(map(without_details, getattr(outcome.result, "errors", None) or ["not everything can be compiled"]))
        raise BuildError(f"dbt {' '.join(command)}: {message}; run `dpe dbt {' '.join(command)}` to see dbt's whole output")
    nodes = [_node_result(result) for result in results or []]
    if not outcome.success and not any(node.has_failed or node.status in SKIPPED for node in nodes):
        # dbt's exit status counts as well as its nodes' states: dpe may take a state for a good one that is not.
        ended = f"dbt {' '.join(command)}: dbt reports a failure, but none of its nodes failed"
        raise BuildError(f"{ended}; run `dpe dbt {' '.join(command)}` to see dbt's whole output")
    # The results include hooks, which matter only if they failed.
    return [node for node in nodes if node.resource_type != "operation" or node.has_failed]


def read_project(project: Project, server: Server) -> Any:
    """
    Read the project as run_dbt would, without running anything; return dbt's manifest as dbt's own object, which runs may change.

    Raises:
        ProjectError: dbt cannot read the project.
    """
    with _environment(server.environment()):
        return dbt.invoke(["parse"], [*_target(project.parsed_directory), *project.dbt_options]).result


def _target(path: Path | None) -> list[str]:
    """Return the options for another directory than dbt's own, which only dbt reads: manifests there would take a second to write."""
    return [] if path is None else ["--target-path", str(path), "--no-write-json"]


def _node_result(result: Any) -> NodeResult:
    node = result.node
    meta: Mapping[str, Any] = getattr(node.config, "meta", None) or {}
    resource_type, status = _text(node.resource_type), _text(result.status)
    message = hide(without_details(result.message or "", file=getattr(node, "build_path", None)).strip())
    return NodeResult(
        unique_id=node.unique_id,
        name=selector_of(node.name, getattr(node, "version", None)),
        path=getattr(node, "original_file_path", ""),
        resource_type=resource_type,
        status=status,
        failures=result.failures,
        message=_UNIT_TEST_FAILED.format(node.name) if resource_type == "unit_test" and status == "fail" else message,
        seconds=result.execution_time,
        rule=_optional_text(meta.get("rule")),
        dimension=_optional_text(meta.get("dimension")),
        because=_optional_text(meta.get("because")),
        severity=str(getattr(node.config, "severity", "") or "").lower(),
        schema=str(getattr(node, "schema", "")),
        alias=str(getattr(node, "alias", "")),
    )


def _optional_text(value: Any) -> str | None:
    """Return what YAML says as text: it reads 2024-01-01 as a date, and 7 as a number, which sort and serialize otherwise."""
    return None if value is None else str(value)


def _text(value: Any) -> str:
    """Return the text of one of dbt's enumerations."""
    return str(value.value if hasattr(value, "value") else value)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the block: dbt's profile and libpq read them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
