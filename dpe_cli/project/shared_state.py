"""
What the Jinja of all nodes shares inside dbt, besides the manifest's nodes.

dbt gives Jinja its own lists and dictionaries, not copies, and some of those of other libraries. Jinja that changes one of them changes
what other nodes see: which relations `ref` finds, for example.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

# Members of dbt's configuration that are described on their own: the configuration of each package, the flags and the variables.
_DESCRIBED_APART = ("args", "dependencies", "vars")


def snapshot(manifest: Any) -> dict[str, str]:
    """Return a description of each part, by the part's name. It stays the same as long as the part does."""
    from dbt import flags, selected_resources
    from dbt.adapters.factory import FACTORY
    from dbt_common.events.functions import get_metadata_vars

    found = {
        "selected_resources": repr(selected_resources.SELECTED_RESOURCES),
        "flags": _described(vars(flags.get_flags())),
        "dbt_metadata_envs": repr(get_metadata_vars()),
    }
    for adapter in FACTORY.adapters.values():
        # dbt reads those of the packages when it first needs them.
        for package, config in adapter.config.load_dependencies().items():
            of_package = "" if config is adapter.config else f" of the package {package}"
            members = {name: value for name, value in vars(config).items() if name not in _DESCRIBED_APART}
            found |= {f"dbt's configuration{of_package}": _described(members), f"vars{of_package}": repr(config.vars.vars)}
    # dbt fills each of these when it first needs it.
    for name in ("ref", "source", "function"):
        found[f"what {name}() finds"] = _described(getattr(manifest, f"{name}_lookup").storage)
    return found | {"macros": _macros(manifest)} | _of_libraries()


@cache
def of_libraries_at_first() -> Mapping[str, str]:
    """Return the part of the snapshot that outlives a run of dbt, as it was at the first call: before Jinja could change anything."""
    return _of_libraries()


def _of_libraries() -> dict[str, str]:
    from dbt.adapters.postgres import PostgresAdapter
    from dbt_common.contracts.config.base import BaseConfig

    return {
        "api.Column": _described(_shared_by_objects(PostgresAdapter.Column)),
        "api.Relation": _described(_shared_by_objects(PostgresAdapter.Relation)),
        "how configurations are merged": _described(_shared_by_objects(BaseConfig)),
        "how seeds are read": _numbers(),
        "modules": _modules(),
    }


@cache
def _shared_by_objects(kind: type) -> dict[str, Any]:
    """Return the containers that all objects of a class share, which Jinja reaches through any of them and can change, but not replace."""
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        for name, value in vars(base).items():
            path = f"{base.__qualname__}.{name}"
            if name.startswith("_"):
                # dbt's Jinja reaches none of these.
                continue
            if isinstance(value, dict | list | set):
                found[path] = value
            elif isinstance(value, type) and value.__qualname__ == path:
                found |= _shared_by_objects(value)
    return found


def _modules() -> str:
    """Describe the lists and dictionaries of Python's and pytz's modules, which pytz fills when they are first needed."""
    from dbt.context.base import get_context_modules

    # A hash of the long lists, because writing two thousand names would take longer than all the rest.
    return repr(
        [
            (module, name, dict(value) if isinstance(value, Mapping) else hash(tuple(value)))
            for module, members in get_context_modules().items()
            for name, value in members.items()
            if isinstance(value, Collection) and not isinstance(value, str)
        ]
    )


def _numbers() -> str:
    """Describe how agate tells numbers from text in seeds: the types of a table that `run_query` returns lead to it."""
    from agate import Number

    number = Number()
    return repr((number.group_symbol, number.decimal_symbol, number.currency_symbols))


def _described(members: Mapping[str, Any]) -> str:
    return repr(sorted(members.items(), key=lambda item: item[0]))


def _macros(manifest: Any) -> str:
    """Describe where dbt finds macros. Jinja cannot change a macro, but can put another object in its place."""
    by_name = [(name, [id(macro) for macro in macros]) for name, macros in manifest.get_macros_by_name().items()]
    by_package = [
        (package, [(name, id(macro)) for name, macro in macros.items()]) for package, macros in manifest.get_macros_by_package().items()
    ]
    return repr(([(name, id(macro)) for name, macro in manifest.macros.items()], by_name, by_package))
