"""Who lives, and who may delete: references and the fence of each content, as pure decisions.

The fence of a content stands beside the references, in the same transactions (tools spec 6.5):

    Free -> Condemned -> Deleting -> Free

1. Somebody who has references cannot be condemned: condemning looks at them in its own transaction.
2. Whoever begins to write a content takes its condemnation away. So a sweeper that finds its
   condemnation gone has lost, touches nothing and releases nothing: another may own it by now.
3. While a content is being deleted nobody can begin to write it. So whatever the sweeper deletes, no
   reference is there, and none comes before it is done.
4. What a sweeper leaves behind when it dies is cleared by whoever knows that it died, never by time.
"""

from typing import Literal, TypeAlias

from lash.attachments.model import AttachmentMeta, AttachmentOwner, AttachmentRef, ref_of
from lash.core.json import Data
from lash.core.leases import LeaseOwner

# --- references -------------------------------------------------------------------------------------


class AttachmentIntent(Data):
    """Somebody is about to write a content for a session, or has."""

    session_id: str
    attachment_id: str
    meta: AttachmentMeta
    owner: AttachmentOwner = None


class AttachmentEntry(Data):
    """One owner's reference in a session.

    Attributes:
        intent: Whose, and to what.
        intent_at_ms: When it was put last for this owner.
        committed_at_ms: Since when it stays until it is forgotten; None while its owner may drop it.
    """

    intent: AttachmentIntent
    intent_at_ms: int
    committed_at_ms: int | None = None

    @property
    def ref(self) -> AttachmentRef:
        """What it refers to."""
        return ref_of(self.intent.attachment_id, self.intent.meta)


#: How an owner's work stands. `over`: it ended, and this was not committed with it. `gone`: nothing is
#: kept of it any more. `unknown`: nobody can tell.
OwnerState: TypeAlias = Literal["nobody", "under_way", "over", "gone", "unknown"]


def is_live(
    entry: AttachmentEntry, owner: OwnerState, before_ms: int, *, awaited: bool = False
) -> bool:
    """Whether a reference keeps its content. `before_ms` is what a sweep takes for long ago.

    Time alone ends only what nobody owns: a turn that waits may go on after weeks. What accepted input
    shows that is not committed yet (`awaited`) stays, whoever put it.
    """
    if awaited or entry.committed_at_ms is not None or entry.intent_at_ms > before_ms:
        return True
    return owner in {"under_way", "unknown"}


# --- the fence --------------------------------------------------------------------------------------


class Sweeper(Data):
    """One sweep: the runtime it runs in, and a nonce that no other sweep has."""

    owner: LeaseOwner
    nonce: str


class Condemnation(Data):
    """A sweeper's claim on a content; absent while the content is free."""

    attachment_id: str
    sweeper: Sweeper
    state: Literal["condemned", "deleting"] = "condemned"


class WriteGranted(Data, tag_field="status", tag="granted"):
    """The reference is recorded, and nobody deletes its content. `revoked`: somebody was about to."""

    revoked: bool = False


class ReclamationInFlight(Data, tag_field="status", tag="reclamation_in_flight"):
    """The content is being deleted at this moment. Nothing was recorded; try again soon."""

    sweeper: Sweeper


class OwnerDeleted(Data, tag_field="status", tag="session_deleted"):
    """The session was deleted for ever. Nothing was recorded."""


WriteAnswer: TypeAlias = WriteGranted | ReclamationInFlight | OwnerDeleted
CondemnAnswer: TypeAlias = Literal["condemned", "root_present", "already_condemned", "unsupported"]
ArmAnswer: TypeAlias = Literal["armed", "revoked"]


def plan_write(fence: Condemnation | None, *, session_deleted: bool) -> WriteAnswer:
    """What becomes of an intent. When it is granted, the reference is written and the fence removed."""
    if session_deleted:
        return OwnerDeleted()
    if fence is not None and fence.state == "deleting":
        return ReclamationInFlight(sweeper=fence.sweeper)
    return WriteGranted(revoked=fence is not None)


def plan_condemn(fence: Condemnation | None, *, has_root: bool) -> CondemnAnswer:
    """Whether a sweeper gets hold of a content. `condemned` writes its condemnation."""
    if has_root:
        return "root_present"
    return "condemned" if fence is None else "already_condemned"


def plan_arm(fence: Condemnation | None, sweeper: Sweeper, *, has_root: bool) -> ArmAnswer:
    """Whether a sweeper may delete now. `armed` makes the condemnation a deletion; else it has lost."""
    ours = fence is not None and fence.sweeper == sweeper and fence.state == "condemned"
    return "armed" if ours and not has_root else "revoked"


def may_release(fence: Condemnation | None, sweeper: Sweeper) -> bool:
    """Whether a fence is a sweeper's own to remove."""
    return fence is not None and fence.sweeper == sweeper


# --- the sweep --------------------------------------------------------------------------------------


class BlobStat(Data):
    """A stored content. `last_modified_ms` is when it was put last; None where nobody knows."""

    attachment_id: str
    byte_len: int = 0
    last_modified_ms: int | None = None


def is_old(blob: BlobStat, before_ms: int) -> bool:
    """Whether a content is old enough to be swept. One without a time is."""
    return blob.last_modified_ms is None or blob.last_modified_ms <= before_ms


class SweepPlan(Data):
    """What a sweep may do, by what it found.

    Attributes:
        candidates: What may be condemned, in order.
        refused: Why nothing at all may be, as an error's code; None when it may.
    """

    candidates: tuple[BlobStat, ...] = ()
    refused: Literal["attachment_roots_unreadable", "attachment_roots_empty"] | None = None


def plan_sweep(
    blobs: tuple[BlobStat, ...],
    roots: frozenset[str] | None,
    before_ms: int,
    *,
    allow_empty: bool,
) -> SweepPlan:
    """What may go. `roots` is None when the references could not be read.

    No reference at all, beside contents that would all go, is more often the wrong database than the
    truth, so it needs to be allowed. With unreadable references nothing goes, however old.
    """
    if roots is None:
        return SweepPlan(refused="attachment_roots_unreadable" if blobs else None)
    candidates = tuple(
        blob for blob in blobs if blob.attachment_id not in roots and is_old(blob, before_ms)
    )
    if candidates and not roots and not allow_empty:
        return SweepPlan(refused="attachment_roots_empty")
    return SweepPlan(candidates=candidates)
