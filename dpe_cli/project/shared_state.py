"""
What the Jinja of all nodes shares inside dbt, besides the manifest's nodes.

dbt gives Jinja its own lists and dictionaries, not copies. Jinja that changes one of them changes what other nodes see: which relations
`ref` finds, for example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Members of dbt's configuration that hold all of it once more, or the flags.
_REPEATED = ("args", "dependencies", "vars")


def snapshot(manifest: Any) -> dict[str, str]:
    """Return a description of each part, by the part's name. It stays the same as long as the part does."""
    from dbt import flags, selected_resources
    from dbt.adapters.factory import FACTORY

    found = {"selected_resources": repr(selected_resources.SELECTED_RESOURCES), "flags": _described(vars(flags.get_flags()))}
    for adapter in FACTORY.adapters.values():
        members = {name: value for name, value in vars(adapter.config).items() if name not in _REPEATED}
        found |= {"dbt's configuration": _described(members), "vars": repr(adapter.config.vars.vars)}
    # dbt fills each of these when it first needs it.
    for name in ("ref", "source", "function"):
        found[f"what {name}() finds"] = _described(getattr(manifest, f"{name}_lookup").storage)
    return found | {"macros": _macros(manifest)}


def _described(members: Mapping[str, Any]) -> str:
    return repr(sorted(members.items(), key=lambda item: item[0]))


def _macros(manifest: Any) -> str:
    """Describe where dbt finds macros. Jinja cannot change a macro, but can put another object in its place."""
    by_name = [(name, [id(macro) for macro in macros]) for name, macros in manifest.get_macros_by_name().items()]
    by_package = [
        (package, [(name, id(macro)) for name, macro in macros.items()]) for package, macros in manifest.get_macros_by_package().items()
    ]
    return repr(([(name, id(macro)) for name, macro in manifest.macros.items()], by_name, by_package))
