"""Everything in this process's memory: gone when it ends. For tests and throw-away sessions."""

from lash.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
