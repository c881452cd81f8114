"""Giving back space: what vacuum may remove without anybody noticing (spec 4.4).

1. Live history and unfinished work are never touched.
2. What answers a retry stays: of an item that became part of a turn, its ids, source key, content hash
   and message stay for ever, so the same source key is answered and other content conflicts.
3. One call does a bounded amount of work in one transaction; `more` says to call again.
"""

import msgspec

from lash.core.json import Data


class VacuumRequest(Data):
    """What may be removed.

    Attributes:
        before_ms: What was settled before this time, in the store's clock.
        limit: How much of each kind at most, in one transaction; 0 removes nothing.
    """

    before_ms: int
    limit: int = 500


class VacuumReport(Data):
    """What was removed, and why the rest was not. A vacuum that fails raises instead.

    Attributes:
        removed_nodes: Nodes of deleted sessions that no session stands on any more.
        removed_queue_payloads: Payloads of items that are part of committed turns.
        removed_cancelled_items: Items that were taken back.
        removed_cancellations: Requests to stop turns that are committed.
        removed_blobs: Large outcomes that no record refers to.
        removed_surroundings: Surroundings that no record refers to.
        more: Whether the same call would remove more, or has not looked at everything.
        shared_histories: Deleted sessions whose nodes stay because others stand on them.
        unfinished_items: Items that wait to be taken; counted up to `limit`.
        recent: What is settled, but not before `before_ms`; counted up to `limit`.
    """

    removed_nodes: int = 0
    removed_queue_payloads: int = 0
    removed_cancelled_items: int = 0
    removed_cancellations: int = 0
    removed_blobs: int = 0
    removed_surroundings: int = 0
    more: bool = False
    shared_histories: int = 0
    unfinished_items: int = 0
    recent: int = 0

    def after(self, before: "VacuumReport") -> "VacuumReport":
        """This step and those before it as one; what stays is as this step found it."""
        removed = {
            name: getattr(self, name) + getattr(before, name)
            for name in self.__struct_fields__
            if name.startswith("removed_")
        }
        return msgspec.structs.replace(self, **removed)

    @property
    def removed(self) -> int:
        """How much was removed, of all kinds."""
        return (
            self.removed_nodes
            + self.removed_queue_payloads
            + self.removed_cancelled_items
            + self.removed_cancellations
            + self.removed_blobs
            + self.removed_surroundings
        )

    @property
    def blocked(self) -> bool:
        """Whether anything stays that is still in use or too young."""
        return bool(self.shared_histories or self.unfinished_items or self.recent)
