"""Tools for the web: pages as text, and searches."""

from typing import TYPE_CHECKING

from lash.contrib.web.tools import Web

if TYPE_CHECKING:
    from lash.contrib.web.search import SearchProvider, SearchResult, Tavily

__all__ = ["SearchProvider", "SearchResult", "Tavily", "Web"]

_SEARCH = frozenset(__all__) - {"Web"}


def __getattr__(name: str) -> object:
    """What needs the extra is only imported when it is asked for."""
    if name in _SEARCH:
        from lash.contrib.web import search

        return getattr(search, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
