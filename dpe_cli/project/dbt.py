"""Run a dbt command within this process, and explain its failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from itertools import product
from typing import Any

from dpe_cli.errors import BuildError, ProjectError
from dpe_cli.project import package_tests, shared_state
from dpe_cli.project.model import RELATIONS
from dpe_cli.safe_text.server_messages import without_details


def invoke(command: Sequence[str], options: Sequence[str], callbacks: Sequence[Callable[[Any], None]] = (), *, manifest: Any = None) -> Any:
    """
    Run a dbt command without output, and return dbt's own `dbtRunnerResult`; each of `callbacks` is called with dbt's events.

    `manifest` is dbt's manifest of the project, if it has already been read.

    Raises:
        ProjectError: dbt cannot read the project.
        BuildError: dbt ended before it could report on its nodes.
    """
    from dbt.cli.main import dbtRunner  # it takes over a second to import

    package_tests.keep_configuration()
    # Reading a project renders Jinja too.
    shared_state.of_libraries_at_first()
    outcome = dbtRunner(manifest=manifest, callbacks=list(callbacks)).invoke([*command, "--log-level", "none", *options])
    if outcome.exception is not None:
        raise _as_own_error(command, outcome.exception) from outcome.exception
    return outcome


def is_warning(error: ProjectError) -> bool:
    """Return whether it is one of dbt's warnings that the project's settings make an error (`warn_error_options`)."""
    from dbt_common.exceptions import EventCompilationError

    return isinstance(error.__cause__, EventCompilationError)


def reads_what_is_gone(manifest: Any) -> bool:
    """
    Return whether a node depends on one that is not in the manifest, so that dbt could not build it.

    If only the YAML of a node has changed, which now disables it, dbt does not look at the nodes that depend on it again.
    """
    found = manifest.nodes.keys() | manifest.sources.keys() | manifest.functions.keys()
    return any(not found.issuperset(node.depends_on_nodes) for node in manifest.nodes.values() if hasattr(node, "depends_on_nodes"))


def remove_tests(manifest: Any, unique_ids: Collection[str]) -> None:
    """
    Remove tests from a manifest, so that dbt does not run them.

    dbt's `--exclude` and `--select` take names for selectors, and a test may be named like one: `resource_type:test` is all tests.
    """
    for unique_id in unique_ids:
        del manifest.nodes[unique_id]


def build_in_shadow(manifest: Any, unique_ids: Collection[str] | None, schema_suffix: str) -> None:
    """
    Change a manifest so that dbt builds these nodes (all of them if None) in schemas with this suffix, and reads the others where they are.

    dbt also gets to know the published relation of each node that it builds: it reads the columns of a unit test's fixture from there if
    the node is not built yet ("Defer" in dbt's documentation).
    """
    from dbt.artifacts.resources import DeferRelation

    for node in manifest.nodes.values():
        if node.resource_type not in RELATIONS or not node.relation_name or not (unique_ids is None or node.unique_id in unique_ids):
            continue
        node.defer_relation = DeferRelation(
            database=node.database,
            schema=node.schema,
            alias=node.alias,
            relation_name=node.relation_name,
            resource_type=node.resource_type,
            name=node.name,
            description=node.description,
            compiled_code=None,
            meta=node.meta,
            tags=node.tags,
            config=node.config,
        )
        node.relation_name = _in_schema(node, node.schema + schema_suffix)
        node.schema += schema_suffix
    manifest.build_flat_graph()


def _in_schema(node: Any, schema: str) -> str:
    """Return the name of a node's relation in another schema; the project's settings decide which parts of it dbt has quoted."""
    for quote, quote_alias in product(('"', ""), repeat=2):
        alias = f".{quote_alias}{node.alias}{quote_alias}"
        end = f".{quote}{node.schema}{quote}{alias}"
        if node.relation_name.endswith(end):
            return f"{node.relation_name.removesuffix(end)}.{quote}{schema}{quote}{alias}"
    raise ProjectError(f"{node.name}: its relation {node.relation_name} does not name the schema {node.schema}; please report this")


def as_json(manifest: Any) -> str:
    """Return dbt's manifest as dbt writes it to manifest.json, in a fraction of the time: dbt's own writer goes through it in Python."""
    from dbt_common.utils.encoding import JSONEncoder

    return json.dumps(manifest.writable_manifest().to_dict(omit_none=False, context={"artifact": True}), cls=JSONEncoder)


def _as_own_error(command: Sequence[str], error: BaseException) -> BaseException:
    """Return what ended dbt as an error of ours. An interrupt is returned unchanged: dbt's runner returns it like an error."""
    from dbt.exceptions import CompilationError, DbtConfigError, DbtValidationError, ParsingError

    if not isinstance(error, Exception):
        return error
    message = without_details(str(error)).strip()
    if " in operation " in message.partition("\n")[0]:
        return BuildError(f"dbt {command[0]}: stopped by a check before or after the build; fix what dbt reports:\n{message}")
    if isinstance(error, (CompilationError, DbtConfigError, DbtValidationError, ParsingError)):
        return ProjectError(f"dbt {command[0]}: the project cannot be read; fix what dbt reports:\n{message}")
    return BuildError(f"dbt {command[0]}: {message}; correct it, or run `dpe dbt {' '.join(command)}` to see dbt's whole output")
