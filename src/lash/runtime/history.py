"""A session's committed history as a drive needs it: messages, their rendering, and where it stands.

Kept between the turns of a session that this runtime drives, so that a turn costs what it adds and
not what came before it.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from lash.core.attachments import AttachmentSource, StoredSource
from lash.core.json import digest, encode
from lash.llm.request import AttachmentBlock, HistoryRef, LlmMessage, ToolResultBlock
from lash.plugins.contexts import HistoryEntry
from lash.sessions.model import SessionHead, messages_of
from lash.sessions.store import SessionStore
from lash.turn.messages import Message, text_message
from lash.turn.projection import Projection, render_message

#: What stands in the place of what a model is not shown.
_LEFT_OUT = text_message("m_left_out", "system", "Earlier messages are left out here.")

#: What a picture or a document is taken for, in bytes: about 1,600 tokens.
_PICTURE_BYTES = 6_400

#: Sessions whose history stays in memory. Each costs what its transcript weighs.
_RESIDENT = 256


class History:
    """The committed messages of one session at one revision. Grows by whole turns."""

    __slots__ = ("_entries", "_open_calls", "_projection", "_window", "head", "messages")

    def __init__(self, head: SessionHead, messages: Sequence[Message]) -> None:
        self.head = head
        self.messages = list(messages)
        self._projection = Projection()
        self._projection.extend(self.messages)
        self._entries: list[HistoryEntry] = []
        self._open_calls: set[str | None] = set()
        self._window: tuple[str, Projection] | None = None

    @property
    def projection(self) -> Projection:
        """The rendering of the committed messages."""
        return self._projection

    @property
    def reference(self) -> HistoryRef:
        """The committed messages, named by content."""
        return HistoryRef(
            count=len(self._projection.extend(self.messages)), digest=self.head.leaf_digest
        )

    @property
    def entries(self) -> Sequence[HistoryEntry]:
        """The committed messages, as far as it matters what a model is shown of them."""
        for message in self.messages[len(self._entries) :]:
            rendered = render_message(message)
            answers = any(part.kind == "tool_result" for part in message.parts)
            entry = HistoryEntry(
                id=message.id,
                role=message.role,
                size=0 if rendered is None else _size(rendered),
                begins=message.role == "user" and not answers and not self._open_calls,
            )
            self._entries.append(entry)
            for part in message.parts:
                if part.kind == "tool_call":
                    self._open_calls.add(part.tool_call_id)
                elif part.kind == "tool_result":
                    self._open_calls.discard(part.tool_call_id)
        return self._entries

    def from_message(self, message_id: str) -> tuple[HistoryRef, Projection]:
        """The rendering from a message on, behind a summary that the conversation begins with.

        The same whenever it is asked for, and longer by what was added, so that a provider's prompt cache
        keeps working while the message stays the same.
        """
        if self._window is None or self._window[0] != message_id:
            self._window = message_id, self._windowed(message_id)
        projection = self._window[1]
        count = len(projection.extend(self.messages))
        named = digest("history-from", [self.head.leaf_digest, message_id])
        return HistoryRef(count=count, digest=named), projection

    def _windowed(self, message_id: str) -> Projection:
        entries = self.entries
        first = next((at for at, each in enumerate(entries) if each.begins), 0)
        place = next((at for at, each in enumerate(entries) if each.id == message_id), first)
        if place <= first:
            return self._projection.fork()
        shown = [*self.messages[:first], _LEFT_OUT, *self.messages[place:]]
        rendered = [each for each in map(render_message, shown) if each is not None]
        return Projection(rendered, len(self.messages))

    def grow(self, head: SessionHead, added: Sequence[Message]) -> None:
        """Take in a turn that was just committed on top, in the same frame."""
        self.messages.extend(added)
        self._projection.extend(self.messages)
        self.head = head


class Histories:
    """Histories of recently driven sessions, used only while they are where the store is."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._resident: OrderedDict[str, History] = OrderedDict()

    async def at(self, head: SessionHead) -> History:
        """The history at `head`, which the caller's lease keeps from moving."""
        known = self._resident.get(head.session_id)
        if known is None or known.head.revision != head.revision:
            path = await self._store.load_path(head.session_id) if head.leaf_id else ()
            known = History(head, messages_of(path))
            self._resident[head.session_id] = known
        self._resident.move_to_end(head.session_id)
        while len(self._resident) > _RESIDENT:
            self._resident.popitem(last=False)
        return known

    def forget(self, session_id: str) -> None:
        """Drop a history that may not be where the store is."""
        self._resident.pop(session_id, None)


def _size(message: LlmMessage) -> int:
    """How much a message is to a model, in bytes of JSON: its attachments by what they show."""
    blocks = [
        msgspec.structs.replace(block, content="")  # the pieces say it all
        if isinstance(block, ToolResultBlock) and block.pieces
        else block
        for block in message.blocks
    ]
    shown = [
        piece
        for block in blocks
        for piece in (block.pieces if isinstance(block, ToolResultBlock) else (block,))
    ]
    weights = [_weight(each.source) for each in shown if isinstance(each, AttachmentBlock)]
    return len(encode(msgspec.structs.replace(message, blocks=tuple(blocks)))) + sum(weights)


def _weight(source: AttachmentSource) -> int:
    if isinstance(source, StoredSource):
        ref = source.attachment_ref
        if ref.media_type.startswith("text/") or ref.media_type == "application/json":
            return ref.byte_len  # models are shown it as text
    return _PICTURE_BYTES
