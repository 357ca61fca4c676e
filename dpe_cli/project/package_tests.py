"""
Makes dbt read generic tests of packages with their own configuration.

While dbt parses a test, it renders only the macros that the test depends on, and looks the test's own macro up by its name alone. If the
project has a generic test of that name, dbt never renders the package's, and what its `config()` sets is lost, such as `fail_calc`: the
test then counts something else. dpe brings such tests, with the names of those in dbt_utils. So the macro of the package that the test is
qualified with has to be added; a reference to it in the project's test would give that one the package's configuration instead.
`dpe dbt` starts dbt through this module.
"""

from __future__ import annotations

import sys
from typing import Any


def keep_configuration() -> None:
    """Make dbt, in this process, render the test of the package that a generic test names."""
    from dbt.parser.schema_generic_tests import SchemaGenericTestParser

    render = SchemaGenericTestParser.render_test_update
    if render.__module__ == __name__:
        return

    def render_with_package(self: Any, node: Any, config: Any, builder: Any, schema_file_id: str) -> None:
        of_package = self.macro_resolver.packages.get(builder.namespace, {}).get(f"test_{builder.name}")
        if of_package is not None:
            node.depends_on.add_macro(of_package.unique_id)
        render(self, node, config, builder, schema_file_id)

    SchemaGenericTestParser.render_test_update = render_with_package


def main() -> None:
    """Run dbt's command line."""
    from dbt.cli.main import cli

    keep_configuration()
    # What dbt records and shows of its command line is that of dbt.
    sys.argv[0] = "dbt"
    cli(prog_name="dbt")


if __name__ == "__main__":
    main()
