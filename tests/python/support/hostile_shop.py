"""
A shop that gets hostile text, and the output of every dpe command for it: on a terminal and in a pipe.

The hostile text is in values, a header, names of files, a table, a role, tenants, a test, and the text of a rule.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Literal

from psycopg import sql

from dpe_cli.cli import main
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server
from support import dbt_projects, schemas
from support.shop import SHOP

# Sets a window's title, hides what follows, clears the screen, reverses the reading direction, begins a line; and is rich markup.
HOSTILE = "\x1b]0;owned\x07\x1b[8m\x9b2J\u202e\u2028[red]:x:"
SHOWN = r"\x1b]0;owned\x07\x1b[8m\x9b2J\u202e\u2028[red]:x:"
ROLE, TENANT, TABLE = f"desk {HOSTILE}", f"UA {HOSTILE}", f"table {HOSTILE}"
IN_YAML = '"' + HOSTILE.encode("unicode_escape").decode() + '"'
ORDERS = f"""order_id,shop,amount,{HOSTILE}
1,UA,10,x
2,UA,20,{HOSTILE}
3,{TENANT},3,x
{HOSTILE},UA,3,x
"""

_SOURCES, _MARTS, _SPEC = "models/raw/_shop__sources.yml", "models/finance/_finance__models.yml", "specs/SHOP-1-orders-spec.md"
_WATCHED = f"{{name: {IN_YAML}, quote: true, data_type: text}}"
PROJECT = {
    **{path: text for path, text in SHOP.items() if not path.startswith("data/orders/")},
    _SOURCES: SHOP[_SOURCES]
    .replace("disposition: append}", "disposition: append, rejects: {max_rows: 1}}")
    .replace("{name: amount, data_type: integer}]", f"{{name: amount, data_type: integer}}, {_WATCHED}]"),
    "models/finance/dim_shops.sql": f"""select shop, name, 'x'::text as "{HOSTILE}" from {{{{ source('shop', 'shops') }}}}""",
    _MARTS: SHOP[_MARTS]
    .replace("an order is paid once", IN_YAML)
    .replace("{name: name, data_type: text}]", f"{{name: name, data_type: text}}, {_WATCHED}]"),
    f"tests/singular/orders{HOSTILE}.sql": """
        {{ config(severity='warn', meta={'rule': 'SHOP-1-03', 'dimension': 'validity', 'owner': 'sales', 'because': 'it is so'}) }}
        select * from {{ ref('fct_orders') }} where amount < 15
        """,
    _SPEC: SHOP[_SPEC].rstrip(" ") + "        | SHOP-1-03 | An order is dear. |\n        ",
}

Channel = Literal["terminal", "pipe"]
_END = "(end)"


def make(directory: Path, server: Server) -> Path:
    """Write the project, and create the role and the table."""
    project = dbt_projects.make(directory, PROJECT)
    dbt_projects.write(project, {f"data/orders/monday {HOSTILE}.csv": ORDERS})
    schemas.create(server, "finance")
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login in role dpe_reader").format(sql.Identifier(ROLE)))
        connection.execute(sql.SQL("create table finance.{} (n integer)").format(sql.Identifier(TABLE)))
        # If readers could read it, the project could not be published.
        connection.execute(sql.SQL("alter table finance.{} enable row level security").format(sql.Identifier(TABLE)))
        connection.execute(sql.SQL("alter table finance.{} owner to dpe_transformer").format(sql.Identifier(TABLE)))
    return project


def clear(server: Server) -> None:
    """Drop what was created on the server outside of the database."""
    with server.connect("admin") as connection:
        with admin_context(connection, "test"):
            connection.execute("delete from dpe.tenant_access where role_name = to_regrole(quote_ident(%s))", [ROLE])
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(ROLE)))
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(ROLE)))


def environment(server: Server) -> Mapping[str, str]:
    """Return the variables with which dpe uses the server, in a wide terminal."""
    return {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGDATABASE": server.database,
        "PGUSER": server.admin_user,
        "TERM": "xterm",
        "COLUMNS": "2000",
    }


def written(channel: Channel, *arguments: str) -> str:
    """Run dpe in this process, and return what it wrote to its own terminal or pipe."""
    with _channel(channel) as (stream_number, chunks), os.fdopen(stream_number, "w", encoding="utf-8") as stream:
        with redirect_stdout(stream), redirect_stderr(stream):
            main.run(arguments)
        stream.write(_END)
    return b"".join(chunks).decode().removesuffix(_END)


@contextmanager
def _channel(channel: Channel) -> Iterator[tuple[int, list[bytes]]]:
    """Yield a descriptor to write to, and the output, which is complete after the block."""
    reading, writing = os.openpty() if channel == "terminal" else os.pipe()
    chunks: list[bytes] = []

    def read() -> None:
        # Programs that dbt started keep the other end open.
        while not b"".join(chunks[-2:]).endswith(_END.encode()):
            chunks.append(os.read(reading, 65536))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield writing, chunks
    reader.join(timeout=10)
    os.close(reading)
