"""`python -m dpe_cli` is `dpe`."""

from __future__ import annotations

from dpe_cli.cli.main import main

if __name__ == "__main__":
    main()
