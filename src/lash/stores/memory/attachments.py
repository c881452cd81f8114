"""The attachments of a memory store: references by the planner, and bytes in a dictionary."""

import asyncio
from collections.abc import Callable, Sequence

from lash.attachments.model import ProcessOwner, TurnOwner, check_attachment_id
from lash.attachments.store import BlobContent
from lash.attachments.transitions import (
    ArmAnswer,
    AttachmentEntry,
    AttachmentIntent,
    BlobStat,
    CondemnAnswer,
    Condemnation,
    OwnerState,
    Sweeper,
    WriteAnswer,
    WriteGranted,
    is_live,
    may_release,
    plan_arm,
    plan_condemn,
    plan_write,
)
from lash.core.clock import Clock
from lash.core.seams import SeamObserver
from lash.core.tiers import DurabilityTier
from lash.sessions.ingress import WAITING_STATES, UserInput
from lash.stores.blobs import not_found, read_checked
from lash.stores.memory.attachment import best, by_age
from lash.stores.memory.process import HeldProcesses
from lash.stores.memory.session import Held


class Attachments:
    """Who refers to what; see `lash.attachments.store.AttachmentManifest`."""

    def __init__(
        self,
        held: Held,
        processes: HeldProcesses,
        clock: Clock,
        seams: SeamObserver,
        changed: Callable[[], None],
    ) -> None:
        self._held = held
        self._kept = held.attachments
        self._processes = processes
        self._clock = clock
        self._seams = seams
        self._changed = changed

    # --- references -----------------------------------------------------------------------------

    async def begin_write(self, intent: AttachmentIntent) -> WriteAnswer:
        """Record that bytes are about to be written, and keep sweepers off them."""
        kept, attachment_id = self._kept, check_attachment_id(intent.attachment_id)
        answer = plan_write(
            kept.fences.get(attachment_id),
            session_deleted=intent.session_id in self._held.deleted,
        )
        if isinstance(answer, WriteGranted):
            self._seams("attachment.intent.inside")
            kept.fences.pop(attachment_id, None)
            kept.add(intent, self._clock.now_ms())
            self._changed()
        return answer

    async def commit_refs(self, session_id: str, attachment_ids: Sequence[str]) -> Sequence[str]:
        """Have a session keep contents until they are forgotten; the ones it does not refer to."""
        wanted = tuple(dict.fromkeys(attachment_ids))
        missing = self._kept.missing(session_id, wanted)
        if not missing:
            self._kept.commit(session_id, wanted, self._clock.now_ms())
            self._changed()
        return missing

    async def forget(self, session_id: str, attachment_id: str) -> bool:
        """Drop a session's references to a content, all of them; whether there were any."""
        if not self._kept.of(session_id, attachment_id):
            return False
        self._seams("attachment.forget.inside")
        self._kept.forget(session_id, attachment_id)
        self._changed()
        return True

    async def find_ref(self, session_id: str, attachment_id: str) -> AttachmentEntry | None:
        """A session's reference to a content: one that is committed, or else the newest."""
        found = dict(best(self._kept.of(session_id, attachment_id)))
        return found.get(attachment_id)

    async def holds_ref(self, session_id: str, attachment_id: str) -> bool:
        """Whether a session may read a content."""
        return bool(self._kept.of(session_id, attachment_id))

    async def list_refs(self, session_id: str) -> Sequence[AttachmentEntry]:
        """A session's references, one for each content, by id."""
        return [entry for _, entry in best(self._kept.of(session_id))]

    # --- what a sweep asks ----------------------------------------------------------------------

    async def list_uncommitted(self, before_ms: int) -> Sequence[AttachmentEntry]:
        """References put at `before_ms` or earlier and never committed, oldest first."""
        found = (
            entry
            for entry in self._kept.refs.values()
            if entry.committed_at_ms is None and entry.intent_at_ms <= before_ms
        )
        return sorted(found, key=by_age)

    async def forget_aged_uncommitted(self, before_ms: int) -> int:
        """Drop those of them that `is_live` does not keep; how many."""
        gone = [
            key
            for key, entry in self._kept.refs.items()
            if not is_live(
                entry,
                self._state_of(entry.intent),
                before_ms,
                awaited=key.attachment_id in self._awaited(key.session_id),
            )
        ]
        if gone:
            self._seams("attachment.forget.inside")
            for key in gone:
                del self._kept.refs[key]
            self._changed()
        return len(gone)

    def _awaited(self, session_id: str) -> frozenset[str]:
        """What accepted input of a session shows that is not committed yet."""
        session = self._held.sessions.get(session_id)
        if session is None:
            return frozenset()
        said = [turn.input for turn in session.open.values()]
        said += [
            item.payload.input
            for item in session.queue.values()
            if isinstance(item.payload, UserInput) and item.state in WAITING_STATES
        ]
        return frozenset(each for one in said for each in one.attachment_ids)

    def _state_of(self, intent: AttachmentIntent) -> OwnerState:
        match intent.owner:
            case TurnOwner(turn_id=turn_id):
                session = self._held.sessions.get(intent.session_id)
                if session is None or turn_id not in session.inputs:
                    return "unknown"
                return "under_way" if turn_id in session.open else "over"
            case ProcessOwner(process_id=process_id):
                return "under_way" if process_id in self._processes.processes else "gone"
            case None:
                return "nobody"

    def committed(self) -> Sequence[tuple[str, str]]:
        """What is to stay, each content with a session that it stays for."""
        found = {
            (key.session_id, key.attachment_id)
            for key, entry in self._kept.refs.items()
            if entry.committed_at_ms is not None
        }
        return [(attachment_id, session_id) for session_id, attachment_id in sorted(found)]

    async def roots(self) -> frozenset[str]:
        """Every content that anybody refers to."""
        return frozenset(key.attachment_id for key in self._kept.refs)

    async def has_root(self, attachment_id: str) -> bool:
        """Whether anybody refers to a content."""
        return self._kept.has_root(attachment_id)

    # --- the fence ------------------------------------------------------------------------------

    async def condemn(self, attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
        """Claim a content that nobody refers to."""
        kept = self._kept
        check_attachment_id(attachment_id)
        answer = plan_condemn(kept.fences.get(attachment_id), has_root=kept.has_root(attachment_id))
        if answer == "condemned":
            self._seams("attachment.condemn.inside")
            kept.fences[attachment_id] = Condemnation(attachment_id=attachment_id, sweeper=sweeper)
            self._changed()
        return answer

    async def arm(self, attachment_id: str, sweeper: Sweeper) -> ArmAnswer:
        """Make a condemnation a deletion, unless a writer took it away."""
        kept = self._kept
        fence, has_root = kept.fences.get(attachment_id), kept.has_root(attachment_id)
        answer = plan_arm(fence, sweeper, has_root=has_root)
        if answer == "armed":
            self._seams("attachment.arm.inside")
            kept.fences[attachment_id] = Condemnation(
                attachment_id=attachment_id, sweeper=sweeper, state="deleting"
            )
            self._changed()
        return answer

    async def release(self, attachment_id: str, sweeper: Sweeper) -> bool:
        """Set a content free again; False when the fence is not this sweeper's."""
        if not may_release(self._kept.fences.get(attachment_id), sweeper):
            return False
        self._seams("attachment.release.inside")
        del self._kept.fences[attachment_id]
        self._changed()
        return True

    async def condemnations(self) -> Sequence[Condemnation]:
        """What is condemned or being deleted, by id."""
        return [fence for _, fence in sorted(self._kept.fences.items())]


class MemoryBlobs:
    """Bytes in memory; see `lash.attachments.store.BlobStore`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._blobs: dict[str, tuple[bytes, int]] = {}

    def __repr__(self) -> str:
        return f"MemoryBlobs({len(self._blobs)} contents)"

    @property
    def persistence(self) -> DurabilityTier:
        """Dies with the process."""
        return "ephemeral"

    async def put(self, attachment_id: str, content: BlobContent) -> str:
        """Keep bytes under the hash they must have."""
        known = self._blobs.get(check_attachment_id(attachment_id))
        data = known[0] if known else await asyncio.to_thread(read_checked, attachment_id, content)
        self._blobs[attachment_id] = (data, self._clock.now_ms())
        return attachment_id

    async def get(self, attachment_id: str) -> bytes:
        """The bytes."""
        known = self._blobs.get(check_attachment_id(attachment_id))
        if known is None:
            raise not_found(attachment_id)
        return known[0]

    async def read_at(self, attachment_id: str, offset: int, size: int) -> bytes:
        """Some of the bytes."""
        return (await self.get(attachment_id))[offset : offset + size]

    async def delete(self, attachment_id: str) -> None:
        """Remove the bytes, if they are there."""
        self._blobs.pop(check_attachment_id(attachment_id), None)

    async def list(self) -> Sequence[BlobStat]:
        """Everything that is kept, by id."""
        return [_stat(name, *kept) for name, kept in sorted(self._blobs.items())]

    async def head(self, attachment_id: str) -> BlobStat | None:
        """What is kept under an id, without its bytes."""
        known = self._blobs.get(check_attachment_id(attachment_id))
        return _stat(attachment_id, *known) if known else None


def _stat(attachment_id: str, data: bytes, at_ms: int) -> BlobStat:
    return BlobStat(attachment_id=attachment_id, byte_len=len(data), last_modified_ms=at_ms)
