"""Which MCP servers there are, and how patient lash is with each. Holds no connection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from lash.contrib.mcp.hooks import Eliciting, Roots, Sampling
from lash.core.durations import Duration, milliseconds
from lash.core.errors import ConfigurationError
from lash.tools.model import ToolRetry

#: What becomes of a connection on which a call timed out.
OnTimeout: TypeAlias = Literal["never", "ping_probe", "consecutive_timeouts"]

#: Shorter values are no secrets, and would be found in every text.
_SHORTEST_SECRET = 6

_DURATIONS = (
    "startup_timeout",
    "call_timeout",
    "call_max_total_timeout",
    "probe_timeout",
    "reconnect_first",
    "reconnect_most",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What every MCP server has, whatever it is reached by. Durations are seconds or a `timedelta`.

    Attributes:
        startup_timeout: How long it may take to connect and to name its tools.
        call_timeout: How long a call may take without a sign of life.
        call_max_total_timeout: How long a call may take in all; longer than `call_timeout`.
        progress_extends: Whether a progress notification, or a question to the host, is a sign of life.
        on_timeout: What becomes of the connection once a call timed out: nothing; the server is asked
            whether it is alive, and given up if not (`ping_probe`); it is given up after a number of
            timeouts in a row.
        probe_timeout: How long an answer to that question may take.
        probe_interval: How often it is asked while nothing is wrong; None never.
        timeouts_before_disconnect: How many timeouts in a row, with `consecutive_timeouts`.
        reconnect_first: The first wait before connecting again; each further one doubles.
        reconnect_most: No wait is longer.
        reconnect_attempts: How often it is tried in a row; None for ever.
        retry: How often a failed call is repeated where the failure says that this is safe. A call that
            was under way when the connection was lost may have been carried out.
        max_message_bytes: A longer message is not read.
        protocol: `auto` asks for the newest protocol and shakes hands where that is unknown;
            `handshake` does so at once, for servers that cannot bear to be asked.
        sampling: Answers a server that asks for a model; without, it is told that nobody does.
        elicitation: Answers a server that asks for a person.
        roots: Says which places the server may look at.
    """

    startup_timeout: Duration = 10.0
    call_timeout: Duration = 60.0
    call_max_total_timeout: Duration = 600.0
    progress_extends: bool = True
    on_timeout: OnTimeout = "ping_probe"
    probe_timeout: Duration = 5.0
    probe_interval: Duration | None = None
    timeouts_before_disconnect: int = 3
    reconnect_first: Duration = 0.5
    reconnect_most: Duration = 30.0
    reconnect_attempts: int | None = None
    retry: ToolRetry | None = None
    max_message_bytes: int = 16 * 1024 * 1024
    protocol: Literal["auto", "handshake"] = "auto"
    sampling: Sampling | None = field(default=None, repr=False)
    elicitation: Eliciting | None = field(default=None, repr=False)
    roots: Roots | None = field(default=None, repr=False)

    def seconds(self, name: str) -> float:
        """One of the durations, in seconds."""
        return milliseconds(getattr(self, name), name) / 1000

    def secrets(self) -> Iterable[str]:
        """What must not be repeated."""
        return ()

    def concealed(self, text: str) -> str:
        """What a server said, without what it was given in confidence."""
        for secret in self.secrets():
            for part in {secret, *secret.split()}:
                if len(part) >= _SHORTEST_SECRET:
                    text = text.replace(part, "…")
        return text

    def check_settings(self, server: str) -> None:
        """Refuse what cannot be kept.

        Raises:
            ConfigurationError: `mcp_server_invalid`. LashError: `duration_invalid`.
        """
        for name in _DURATIONS:
            if self.seconds(name) <= 0:
                raise invalid(server, f"{name} must be longer than nothing")
        if self.probe_interval is not None and self.seconds("probe_interval") <= 0:
            raise invalid(server, "probe_interval must be longer than nothing, or None")
        if self.seconds("call_max_total_timeout") <= self.seconds("call_timeout"):
            raise invalid(server, "call_max_total_timeout must be longer than call_timeout")
        for name in ("max_message_bytes", "timeouts_before_disconnect"):
            if getattr(self, name) < 1:
                raise invalid(server, f"{name} must be at least 1")
        if self.reconnect_attempts is not None and self.reconnect_attempts < 1:
            raise invalid(server, "reconnect_attempts must be at least 1, or None for no end")


@dataclass(frozen=True, slots=True, repr=False)
class StdioServer(ServerSettings):
    """A server that is a program of this machine, spoken to over its stdin and stdout.

    It is started with the runtime and stopped with it. It sees the few variables of the environment that
    programs need, and those of `env`; nothing else of what the host was started with.

    Attributes:
        name: What it is called here; part of the names of its tools.
        command: The program.
        args: Its arguments.
        env: Variables of its environment.
        cwd: Where it runs.
    """

    name: str
    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | Path | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        self.check_settings(self.name)
        if not self.command.strip():
            raise invalid(self.name, "it needs a command")
        if isinstance(self.args, str):
            raise invalid(self.name, "args is a list of arguments, not one text")

    def secrets(self) -> Iterable[str]:
        """The values of its environment."""
        return self.env.values()

    def __repr__(self) -> str:
        return f"StdioServer({self.name!r}, {self.command!r})"  # arguments may hold secrets


@dataclass(frozen=True, slots=True, repr=False)
class HttpServer(ServerSettings):
    """A server elsewhere, spoken to over streamable HTTP.

    Attributes:
        name: What it is called here; part of the names of its tools.
        url: Its endpoint.
        headers: Sent with every request, such as `{"authorization": "Bearer …"}`.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        self.check_settings(self.name)
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise invalid(self.name, "its url must begin with http:// or https:// and name a host")

    def secrets(self) -> Iterable[str]:
        """The values of its headers."""
        return self.headers.values()

    def __repr__(self) -> str:
        return f"HttpServer({self.name!r}, {place(self.url)!r})"  # a query may hold secrets


Server: TypeAlias = StdioServer | HttpServer


def place(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def check_name(name: object) -> None:
    """Refuse a name that cannot be part of a tool's.

    Raises:
        ConfigurationError: `mcp_server_invalid`.
    """
    if not isinstance(name, str) or not name.strip() or "__" in name or not name.isprintable():
        raise invalid(str(name), "a server's name is text that is not blank and holds no '__'")


def invalid(server: str, why: str) -> ConfigurationError:
    """The error of a server that is declared wrongly."""
    return ConfigurationError("mcp_server_invalid", f"MCP server {server!r}: {why}.", server=server)
