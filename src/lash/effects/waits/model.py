"""What can be waited for, the key that names it, and how it can end (effects spec 1.2 to 1.4)."""

import base64
from typing import Literal, TypeAlias

import msgspec

from lash.core.errors import LashError
from lash.core.json import Data, JsonValue, encode
from lash.core.scopes import ExecutionScope
from lash.core.text import is_utf8

#: Ordinals are written into keys as 64 bits.
_MAX_ORDINAL = 2**64 - 1

#: How a key begins when it is written as one word.
TOKEN_PREFIX = "lash-key-"  # noqa: S105  it marks tokens, and is none


class ToolCompletionWait(Data, tag_field="type", tag="tool_completion"):
    """The outside completes a tool call."""

    tool_call_id: str


class ProcessSignalWait(Data, tag_field="type", tag="process_signal"):
    """A process gets its `ordinal`-th signal of a name, counted from 1."""

    process_id: str
    signal_name: str
    ordinal: int


class CustomWait(Data, tag_field="type", tag="custom"):
    """Whatever the host calls it."""

    key: str


class TurnCancelGateWait(Data, tag_field="type", tag="turn_cancel_gate"):
    """Whether a turn was cancelled or came to its end first."""


class TurnTerminalWait(Data, tag_field="type", tag="turn_terminal"):
    """How a turn ended."""


AwaitEventWaitIdentity: TypeAlias = (
    ToolCompletionWait | ProcessSignalWait | CustomWait | TurnCancelGateWait | TurnTerminalWait
)

WaitKind: TypeAlias = Literal[
    "tool_completion", "process_signal", "custom", "turn_cancel_gate", "turn_terminal"
]


def is_turn_control(wait: AwaitEventWaitIdentity) -> bool:
    """Whether a wait steers a turn: no sweep ends it, and no waiter writes it."""
    return isinstance(wait, TurnCancelGateWait | TurnTerminalWait)


def validate_wait(wait: AwaitEventWaitIdentity) -> None:
    """Refuse blank names and ordinals below 1.

    Raises:
        LashError: `invalid_await_event_wait_identity`.
    """
    for name in wait.__struct_fields__:
        value = getattr(wait, name)
        named = not isinstance(value, str) or (value.strip() and is_utf8(value))
        if not named or (name == "ordinal" and not 1 <= value <= _MAX_ORDINAL):
            raise LashError(
                "invalid_await_event_wait_identity",
                f"The {name} of a {wait.__struct_config__.tag} wait is {value!r}; names must be text "
                "that is not blank, and ordinals count from 1.",
                field=name,
            )


class AwaitEventKey(Data):
    """Names one wait, and lets whoever holds it resolve that wait: treat it like a password.

    Attributes:
        scope: Whose wait it is.
        wait: What is waited for.
        key_id: Scope and wait as a hash; the row's name.
        signature: Proof that this store minted the key.
    """

    scope: ExecutionScope
    wait: AwaitEventWaitIdentity
    key_id: str
    signature: str

    def __repr__(self) -> str:
        return f"AwaitEventKey({self.key_id!r}, signature=<hidden>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """What consoles show, which read fields past `repr`: as little."""
        return [("key_id", self.key_id)]

    @property
    def token(self) -> str:
        """The key as one word, fit for a link, a button or a command line. As secret as the key."""
        packed = base64.urlsafe_b64encode(encode(self)).decode().rstrip("=")
        return TOKEN_PREFIX + packed

    @property
    def promise_key(self) -> str:
        """The name under which an engine outside keeps this promise."""
        return f"lash-await-event:{self.key_id}"


class ExternalCompletionError(Data):
    """Why the outside could not do its part."""

    code: str
    message: str
    raw: JsonValue = None


class ResolvedOk(Data, tag_field="status", tag="ok"):
    """The outside did its part. `has_attachments` as for `ToolSuccess`."""

    payload: JsonValue = None
    has_attachments: bool = False

    def __repr__(self) -> str:
        return "ResolvedOk(payload=<hidden>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """What consoles show, which read fields past `repr`: as little."""
        return [("payload", "<hidden>")]


class ResolvedErr(Data, tag_field="status", tag="err"):
    """The outside failed."""

    payload: ExternalCompletionError

    def __repr__(self) -> str:
        return f"ResolvedErr(code={self.payload.code!r}, payload=<hidden>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """What consoles show, which read fields past `repr`: as little."""
        return [("code", self.payload.code)]


class ResolvedTimeout(Data, tag_field="status", tag="timeout"):
    """Nobody answered before the deadline."""


class ResolvedCancelled(Data, tag_field="status", tag="cancelled"):
    """The wait was cancelled."""


Resolution: TypeAlias = ResolvedOk | ResolvedErr | ResolvedTimeout | ResolvedCancelled


class ResolveAccepted(Data, tag_field="status", tag="accepted"):
    """This was the first resolution; it stands for ever."""


class AlreadyResolved(Data, tag_field="status", tag="already_resolved"):
    """Another resolution came first; it is the one that counts."""

    terminal: Resolution


class UnknownOrRevoked(Data, tag_field="status", tag="unknown_or_revoked"):
    """The key is unknown, forged or revoked: one answer, so that nobody can find out which."""


ResolveOutcome: TypeAlias = ResolveAccepted | AlreadyResolved | UnknownOrRevoked

RESOLUTION: msgspec.json.Decoder[Resolution] = msgspec.json.Decoder(Resolution)


def unknown_or_revoked() -> LashError:
    """The error of waiting for, or looking at, a key that is unknown, forged or revoked."""
    return LashError(
        "await_event_unknown_or_revoked",
        "This key names no wait of this store: it is unknown, was tampered with, or its session was "
        "deleted. Ask for a new key.",
    )
