"""Tools for files in one folder that they cannot leave."""

from lash.contrib.files.tools import Files

__all__ = ["Files"]
