"""dlt's PostgreSQL destination for a server on a Unix socket."""

from __future__ import annotations

import dlt
from dlt.common.destination import Destination


def postgres(url: str) -> Destination[object, object]:
    """Return the destination; dlt insists on a host and a password, and libpq prefers the `host` parameter to the URL's own."""
    return dlt.destinations.postgres(credentials=url.replace("@/", ":none@localhost/", 1), create_indexes=False)
