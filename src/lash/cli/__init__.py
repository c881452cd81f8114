"""Floor 7: the `lash` command."""

from lash.cli.entry import main

__all__ = ["main"]
