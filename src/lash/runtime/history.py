"""A session's committed history as a drive needs it: messages, their rendering, and where it stands.

Kept between the turns of a session that this runtime drives, so that a turn costs what it adds and
not what came before it.
"""

from collections import OrderedDict
from collections.abc import Sequence

from lash.llm.request import HistoryRef
from lash.sessions.model import SessionHead, messages_of
from lash.sessions.store import SessionStore
from lash.turn.messages import Message
from lash.turn.projection import Projection

#: Sessions whose history stays in memory. Each costs what its transcript weighs.
_RESIDENT = 256


class History:
    """The committed messages of one session at one revision. Grows by whole turns."""

    __slots__ = ("_projection", "head", "messages")

    def __init__(self, head: SessionHead, messages: Sequence[Message]) -> None:
        self.head = head
        self.messages = list(messages)
        self._projection = Projection()
        self._projection.extend(self.messages)

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
