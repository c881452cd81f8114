"""Messages and their parts, as a session keeps them (turns spec 1.10)."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from lash.core.attachments import AttachmentSource
from lash.core.json import Data, JsonValue

Role: TypeAlias = Literal["user", "assistant", "system", "event"]
PartKind: TypeAlias = Literal[
    "text",
    "code",
    "output",
    "error",
    "prose",
    "tool_call",
    "tool_result",
    "reasoning",
    "attachment",
]

#: Text and attachments in the order in which a model is shown them.
Pieces: TypeAlias = tuple[str | AttachmentSource, ...]


class Cleared(Data, tag_field="type", tag="cleared"):
    """The content is no longer shown to the model."""


class Deleted(Data, tag_field="type", tag="deleted"):
    """The content was archived; a breadcrumb says what it was."""

    breadcrumb: str
    archive_hash: str


class Summarized(Data, tag_field="type", tag="summarized"):
    """The content was archived and replaced by a summary."""

    summary: str
    archive_hash: str


PruneState: TypeAlias = Cleared | Deleted | Summarized


class Part(Data):
    """One part of a message. `content` of a tool call is its raw argument text.

    Attributes:
        id: `{message id}.p{n}`.
        kind: What the content is.
        content: The text.
        tool_call_id: The call this part makes or answers.
        tool_name: The tool called or answering.
        replay: The provider's opaque data that must travel back with the part.
        prune: How the content is shown to the model, when not as it is.
        attachment: What a part of the kind `attachment` shows. Never its bytes: those are stored.
        pieces: What a tool result shows that is not text alone; `content` then names the attachments.
    """

    id: str
    kind: PartKind
    content: str
    tool_call_id: str | None = None
    tool_name: str | None = None
    replay: JsonValue = None
    prune: PruneState | None = None
    attachment: AttachmentSource | None = None
    pieces: Pieces = ()


class PluginOrigin(Data, tag_field="kind", tag="plugin"):
    """A plugin put the message in. A transient one reaches the model in this turn only."""

    plugin_id: str
    transient: bool = False


class ProcessOrigin(Data, tag_field="kind", tag="process"):
    """A background process caused the message."""

    process_id: str
    event_type: str
    sequence: int


class TurnInputOrigin(Data, tag_field="kind", tag="turn_input"):
    """Accepted input became the message."""

    turn_id: str
    input_id: str | None = None


Origin: TypeAlias = PluginOrigin | ProcessOrigin | TurnInputOrigin


class Message(Data):
    """One message of a transcript."""

    id: str
    role: Role
    parts: tuple[Part, ...]
    origin: Origin | None = None

    @property
    def transient(self) -> bool:
        """Whether the message is shown to the model in this turn but never kept."""
        return isinstance(self.origin, PluginOrigin) and self.origin.transient


def text_message(
    message_id: str,
    role: Role,
    text: str,
    *,
    kind: PartKind = "text",
    origin: Origin | None = None,
) -> Message:
    """A message of one part."""
    part = Part(id=f"{message_id}.p0", kind=kind, content=text)
    return Message(id=message_id, role=role, parts=(part,), origin=origin)


def message_of_pieces(
    message_id: str, role: Role, pieces: Pieces, *, origin: Origin | None = None
) -> Message:
    """A message of text and attachments, in order; of text alone it is `text_message`'s."""
    merged: list[str | AttachmentSource] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += f"\n{piece}"
        else:
            merged.append(piece)
    parts = tuple(
        Part(id=f"{message_id}.p{index}", kind="text", content=piece)
        if isinstance(piece, str)
        else Part(id=f"{message_id}.p{index}", kind="attachment", content="", attachment=piece)
        for index, piece in enumerate(merged)
    )
    return Message(id=message_id, role=role, parts=parts, origin=origin)


def attachments_in(message: Message) -> tuple[AttachmentSource, ...]:
    """The attachments that a message shows, in order."""
    return tuple(
        source
        for part in message.parts
        for source in ((part.attachment, *part.pieces) if part.attachment else part.pieces)
        if not isinstance(source, str)
    )


def visible_text(message: Message) -> str:
    """What a reader sees of a message: its text, prose, code, output and error parts."""
    shown = ("text", "prose", "code", "output", "error")
    return join_prose([part.content for part in message.parts if part.kind in shown])


def join_prose(pieces: Sequence[str]) -> str:
    """Join pieces of prose with at least two newlines at each boundary."""
    joined = ""
    for piece in pieces:
        if not piece:
            continue
        if joined:
            trailing = len(joined) - len(joined.rstrip("\n"))
            leading = len(piece) - len(piece.lstrip("\n"))
            joined += "\n" * max(0, 2 - trailing - leading)
        joined += piece
    return joined


def is_valid_transcript(messages: Sequence[Message]) -> bool:
    """Whether every provider would accept the transcript (D16).

    Tool calls stand in assistant messages and results in user messages; call ids are non-empty and
    each call is answered exactly once, after it was made. An id may be used again only once its
    earlier call is answered.
    """
    waiting: set[str] = set()
    for message in messages:
        for part in message.parts:
            if part.kind == "tool_call":
                if message.role != "assistant" or not part.tool_call_id:
                    return False
                if part.tool_call_id in waiting:
                    return False
                waiting.add(part.tool_call_id)
            elif part.kind == "tool_result":
                if message.role != "user" or part.tool_call_id not in waiting:
                    return False
                waiting.discard(part.tool_call_id)
    return not waiting
