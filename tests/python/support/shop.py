"""
A small pipeline, from files to published tables.

The fixture `shop` is a copy of the project after its first run, with a database of its own: changes of a test are not visible
to others. `support/renamed_shop.py` has the same with schemas of other names.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import Cluster

from dpe_cli.pipeline import run as pipeline
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server
from support import dbt_projects, schemas

# Orders of two shops, the tenants: two of UA, one of HA. One of them is cheap, and a rule warns of that.
SHOP = {
    "data/orders/monday.csv": """
        order_id,shop,amount
        1,UA,10
        2,UA,20
        """,
    "data/orders/tuesday.csv": """
        order_id,shop,amount
        3,HA,30
        """,
    "data/shops.csv": """
        shop,name
        HA,Hats
        UA,Umbrellas
        """,
    "models/raw/_shop__sources.yml": """
        sources:
          - name: shop
            schema: raw
            config: {meta: {spec: SHOP-1}}
            tables:
              - name: orders
                external: {location: data/orders/*.csv, file_format: csv, disposition: append}
                config: {meta: {rls: {tenant_column: shop}}}
                columns: [{name: order_id, data_type: integer}, {name: shop, data_type: text}, {name: amount, data_type: integer}]
              - name: shops
                external: {location: data/shops.csv, file_format: csv, disposition: replace}
                columns: [{name: shop, data_type: text}, {name: name, data_type: text}]
        """,
    "models/raw/stg_shop__orders.sql": "select order_id, shop, amount from {{ source('shop', 'orders') }}",
    "models/finance/fct_orders.sql": "select order_id, shop, amount from {{ ref('stg_shop__orders') }}",
    "models/finance/dim_shops.sql": "select shop, name from {{ source('shop', 'shops') }}",
    "models/finance/_finance__models.yml": """
        models:
          - name: fct_orders
            config: {meta: {rls: {tenant_column: shop}}}
            columns:
              - name: order_id
                data_type: integer
                data_tests:
                  - unique:
                      name: orders_are_unique
                      config:
                        meta: {rule: SHOP-1-01, dimension: uniqueness, owner: sales, because: an order is paid once}
              - {name: shop, data_type: text}
              - {name: amount, data_type: integer}
          - name: dim_shops
            config: {meta: {rls: {shared: true}}}
            columns: [{name: shop, data_type: text}, {name: name, data_type: text}]
        """,
    "tests/singular/orders_are_not_cheap.sql": """
        {{ config(severity='warn', meta={
            'rule': 'SHOP-1-02', 'dimension': 'validity', 'owner': 'sales', 'because': 'postage costs as much'
        }) }}
        select * from {{ ref('fct_orders') }} where amount < 15
        """,
    "specs/SHOP-1-orders-spec.md": """
        ---
        ticket: SHOP-1
        title: Orders
        owner: sales
        sources: [shop.orders, shop.shops]
        models: [fct_orders, dim_shops]
        ---

        | rule | definition |
        |---|---|
        | SHOP-1-01 | An order is there once. |
        | SHOP-1-02 | An order is not cheap. |
        """,
}


# Another delivery.
WEDNESDAY = {"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"}
# Order 3 was already delivered on Tuesday.
DOUBLED = {"data/orders/wednesday.csv": "order_id,shop,amount\n3,HA,31\n4,HA,40\n"}


@dataclass(frozen=True)
class Shop:
    """A project and its server."""

    directory: Path
    server: Server

    @property
    def project(self) -> Project:
        """The project, read again."""
        return Project(self.directory)

    def write(self, files: Mapping[str, str]) -> None:
        """Change files of the project."""
        dbt_projects.write(self.directory, files)

    def change_columns(self, before: str, after: str) -> None:
        """Change the contract of fct_orders."""
        models = self.directory / "models" / "finance" / "_finance__models.yml"
        text = models.read_text()
        assert before in text
        models.write_text(text.replace(before, after))

    def run(self, *select: str, documents: bool = False, publishes: bool = True) -> RunSummary:
        """Run the pipeline; by default without the docs site, which takes as long as a build."""
        options = RunOptions(documents=documents, publishes=publishes)
        return pipeline.run(self.project, self.server, select, (), dbt_projects.Silence(), options)

    def orders(self, relation: str = "finance.fct_orders") -> list[int]:
        """Return the ids of the orders that a relation holds."""
        with self.server.connect("transformer") as connection, system_context(connection, actor="test"):
            return [order for (order,) in connection.execute(f"select order_id from {relation} order by 1".encode())]


@pytest.fixture(scope="session")
def first_run(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, RunSummary]]:
    """Run the project's pipeline once, on a new database."""
    directory = dbt_projects.make(tmp_path_factory.mktemp("shop"), SHOP)
    with cluster_18.new_database() as server:
        shop = Shop(directory, server)
        yield shop, shop.run(documents=True)


@contextmanager
def copied(original: Shop, cluster: Cluster, directory: Path) -> Iterator[Shop]:
    """Copy a project into a directory, and its database."""
    shutil.copytree(original.directory, directory, symlinks=True)
    with replace(cluster, template=original.server).new_database() as server:
        yield Shop(directory, server)


@pytest.fixture
def shop(cluster_18: Cluster, first_run: tuple[Shop, RunSummary], tmp_path: Path) -> Iterator[Shop]:
    """Give a copy of the project and its database, as the first run left them."""
    with copied(first_run[0], cluster_18, tmp_path / "shop") as shop:
        yield shop


@pytest.fixture
def new_shop(server: Server, tmp_path: Path) -> Shop:
    """Give a copy of the project that was never run, with a database of its own that has the schemas of earlier versions."""
    schemas.create_as_earlier_versions(server)
    return Shop(dbt_projects.make(tmp_path / "shop", SHOP), server)
