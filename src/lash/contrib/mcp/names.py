"""What tools of MCP servers are called: names a model may call, the same after every reconnect."""

import hashlib
import re
from collections.abc import Iterable

#: What providers take as the name of a tool.
LONGEST_NAME = 64

_ODD = re.compile(r"[^a-z0-9]+")


def normalized(text: str) -> str:
    """Small letters, digits and single underscores; `tool` when nothing is left."""
    return _ODD.sub("_", text.lower()).rstrip("_") or "tool"


def server_prefix(server: str) -> str:
    """What the names of a server's tools begin with."""
    return f"mcp__{normalized(server)}__"


def tool_id(server: str, original: str) -> str:
    """A tool's identity. It is made of what the server calls it, so no other tool changes it."""
    return f"mcp:{server}/{original}"


class ToolNames:
    """The names of one server's tools. One that was given stays given, also while its tool is away."""

    def __init__(self, server: str) -> None:
        self._prefix = server_prefix(server)
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def assign(self, originals: Iterable[str]) -> dict[str, str]:
        """The names of these tools, by what the server calls them.

        Tools that would be called the same are told apart by `_2`, `_3`. Which one comes first does not
        depend on the order in which the server names them, for that may change.
        """
        wanted = list(dict.fromkeys(originals))
        for original in sorted(set(wanted) - self._given.keys()):
            name = self._free(original)
            self._given[original] = name
            self._taken.add(name)
        return {original: self._given[original] for original in wanted}

    def _free(self, original: str) -> str:
        plain = f"{self._prefix}{normalized(original)}"
        name, count = _fitting(plain, original, ""), 1
        while name in self._taken:
            count += 1
            name = _fitting(plain, original, f"_{count}")
        return name


def _fitting(name: str, original: str, suffix: str) -> str:
    if len(name) + len(suffix) <= LONGEST_NAME:
        return name + suffix
    # Long names often differ at their ends only, so the cut one is told apart by all of it.
    mark = hashlib.sha256(original.encode(errors="surrogatepass")).hexdigest()[:8]
    kept = LONGEST_NAME - len(mark) - 1 - len(suffix)
    return f"{name[:kept].rstrip('_')}_{mark}{suffix}"
