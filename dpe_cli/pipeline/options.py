"""How a run works: what it loads and builds again, with how many threads, and what follows the build."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """
    How to run. Unless `publishes`, the build stays in the shadow schemas; `documents`: build the docs site.

    `ends_sessions`: end the sessions that block an extract, dbt or a publication.
    """

    full_refresh: bool = False
    threads: int | None = None
    jobs: int | None = None
    publishes: bool = True
    documents: bool = True
    ends_sessions: bool = False
