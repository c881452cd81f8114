"""One SQLite file holds everything; no server. The default store."""

from lash.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
