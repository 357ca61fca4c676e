"""Which project loads a staging table: one only, because each would take the other's rows for some that are not in the ledger."""

from __future__ import annotations

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import ContractError
from dpe_cli.load import staging
from dpe_cli.server.connection import Connection

# The policies allow a session to name its own project only.
_CLAIM = """
    insert into dpe.staged_relations (relation)
    values (%s)
    on conflict (relation) do update set project = excluded.project where staged_relations.project <> excluded.project
"""


def claim(connection: Connection, table: StagingTable) -> None:
    """
    Claim a staging table for the session's project, in the caller's transaction; the caller holds the source's lock.

    One that another project has left empty changes hands.

    Raises:
        ContractError: another project has loaded rows into it.
    """
    check(connection, table)
    connection.execute(_CLAIM, [table.relation])


def check(connection: Connection, table: StagingTable) -> None:
    """
    Check that no other project has loaded rows into a staging table.

    Raises:
        ContractError: one has.
    """
    row = connection.execute(
        "select project from dpe.staged_relations where relation = %s and project <> dpe.project()", [table.relation]
    ).fetchone()
    if row is not None and staging.slices(connection, table, attached=True):
        raise ContractError(
            f"{table.source} ({table.declared_at}): the project {row[0]} loads {table.relation} too; give the source another schema or "
            "identifier, or undo the loads of that project"
        )
