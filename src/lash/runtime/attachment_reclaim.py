"""The sweep: deletes bytes that nobody refers to, without ever taking what somebody puts meanwhile.

For each content: condemn it, look again how old it is, make the condemnation a deletion, delete, set it
free. A writer that comes before the deletion takes the condemnation away; one that comes later waits.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from lash.attachments.store import AttachmentManifest, BlobStore
from lash.attachments.transitions import BlobStat, Sweeper, is_old, plan_sweep
from lash.core.errors import LashError
from lash.core.json import Data
from lash.core.leases import LeaseOwner
from lash.core.seams import SeamObserver
from lash.core.text import described
from lash.effects.shielding import shielded

_log = logging.getLogger("lash.runtime")

SweepStatus: TypeAlias = Literal["swept", "incomplete", "nothing_to_do"]


class ReclaimReport(Data):
    """What a sweep came to.

    Attributes:
        scanned: How many contents there were.
        reclaimed: How many were deleted.
        reclaimed_bytes: How many bytes those had.
        forgotten: How many references were dropped whose work was abandoned.
        failed: Contents that could not be deleted; the log says why.
        deferred: Contents that a writer or another sweep took first.
        deleted_while_referenced: Contents that somebody referred to right after they were deleted.
            Cannot happen while the manifest has a fence.
        cleared: How many condemnations were removed that sweepers had left behind.
        fence: Whether the manifest kept writers and this sweep apart.
        root_enumeration_failure: Why the references could not be read, if they could not.
    """

    scanned: int = 0
    reclaimed: int = 0
    reclaimed_bytes: int = 0
    forgotten: int = 0
    failed: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    deleted_while_referenced: tuple[str, ...] = ()
    cleared: int = 0
    fence: Literal["fenced", "best_effort"] = "fenced"
    root_enumeration_failure: str | None = None

    @property
    def status(self) -> SweepStatus:
        """Whether all was deleted that could be, or some of it was left for the next time."""
        if self.failed or self.deferred or self.root_enumeration_failure:
            return "incomplete"
        return "swept" if self.reclaimed else "nothing_to_do"


@dataclass(slots=True)
class _Tally:
    """What a sweep has counted so far."""

    cleared: int = 0
    forgotten: int = 0
    scanned: int = 0
    reclaimed: int = 0
    reclaimed_bytes: int = 0
    failed: list[str] = field(default_factory=list)
    deferred: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    fenced: bool = True
    roots_failure: str | None = None

    def report(self) -> ReclaimReport:
        return ReclaimReport(
            scanned=self.scanned,
            reclaimed=self.reclaimed,
            reclaimed_bytes=self.reclaimed_bytes,
            forgotten=self.forgotten,
            failed=tuple(self.failed),
            deferred=tuple(self.deferred),
            deleted_while_referenced=tuple(self.alarms),
            cleared=self.cleared,
            fence="fenced" if self.fenced else "best_effort",
            root_enumeration_failure=self.roots_failure,
        )


@dataclass(frozen=True, slots=True)
class Reclaim:
    """One sweep.

    Attributes:
        manifest: Who refers to what.
        blobs: The bytes. They must belong to this manifest alone.
        sweeper: Who sweeps. One owner sweeps once at a time.
        before_ms: What was put at this time or earlier is old enough.
        allow_empty: Whether everything may go when nobody refers to anything.
        clear_stuck: Whether all condemnations are left over. Only while nobody else sweeps.
        is_dead: Whether a sweeper is proven dead.
        seams: Told where a crash would be interesting.
    """

    manifest: AttachmentManifest
    blobs: BlobStore
    sweeper: Sweeper
    before_ms: int
    allow_empty: bool
    clear_stuck: bool
    is_dead: Callable[[LeaseOwner], bool]
    seams: SeamObserver

    async def run(self) -> ReclaimReport:
        """Sweep. What one content comes to does not stop the others.

        Raises:
            LashError: `attachment_roots_empty`, `attachment_roots_unreadable`; nothing was deleted,
                and `details["report"]` says what was found. What the store raises.
        """
        tally = _Tally()
        await self._clear(tally)
        tally.forgotten = await self.manifest.forget_aged_uncommitted(self.before_ms)
        roots: frozenset[str] | None = None
        try:
            roots = await self.manifest.roots()
        except Exception as error:  # noqa: BLE001  nothing is deleted, whatever it was
            tally.roots_failure = described(error)
        blobs = tuple(await self.blobs.list())
        tally.scanned = len(blobs)
        plan = plan_sweep(blobs, roots, self.before_ms, allow_empty=self.allow_empty)
        if plan.refused is not None:
            raise _refused(plan.refused, tally.report())
        for blob in plan.candidates:
            # What was begun with a content is brought to its end, or nobody could write it any more.
            await shielded(self._sweep(blob, tally))
        return tally.report()

    async def _clear(self, tally: _Tally) -> None:
        """Remove what sweepers left behind that are gone: proven dead, or this one's before."""
        for left in await self.manifest.condemnations():
            owner = left.sweeper.owner
            gone = self.clear_stuck or owner == self.sweeper.owner or self.is_dead(owner)
            if gone and await self.manifest.release(left.attachment_id, left.sweeper):
                tally.cleared += 1

    async def _sweep(self, blob: BlobStat, tally: _Tally) -> None:
        attachment_id = blob.attachment_id
        try:
            await self._reclaim(blob, tally)
        except Exception as error:  # noqa: BLE001  one content does not stop the others
            _log.warning("attachment %s was not reclaimed: %s", attachment_id, described(error))
            tally.failed.append(attachment_id)

    async def _reclaim(self, blob: BlobStat, tally: _Tally) -> None:
        attachment_id = blob.attachment_id
        match await self.manifest.condemn(attachment_id, self.sweeper):
            case "root_present":
                return
            case "already_condemned":
                tally.deferred.append(attachment_id)
                return
            case "unsupported":
                tally.fenced = False
                await self._unfenced(blob, tally)
                return
            case "condemned":
                self.seams("attachment.condemn.after")
        release = True
        try:
            if not await self._is_still_old(attachment_id):
                return
            if await self.manifest.arm(attachment_id, self.sweeper) == "revoked":
                # A writer has it now, or somebody else: it is not ours to release.
                release = False
                tally.deferred.append(attachment_id)
                return
            self.seams("attachment.arm.after")
            await self._delete(blob, tally)
            if await self.manifest.has_root(attachment_id):
                self._alarm(attachment_id, tally)  # somebody got past the fence
        finally:
            if release:
                await self.manifest.release(attachment_id, self.sweeper)

    async def _unfenced(self, blob: BlobStat, tally: _Tally) -> None:
        """The best that can be done where writers are not held up: look as late as possible."""
        attachment_id = blob.attachment_id
        if not await self._is_still_old(attachment_id):
            return
        if await self.manifest.has_root(attachment_id):
            return
        await self._delete(blob, tally)
        # Nothing kept a writer from coming in between. If it has written the bytes again, all is well.
        referred = await self.manifest.has_root(attachment_id)
        if referred and await self.blobs.head(attachment_id) is None:
            self._alarm(attachment_id, tally)

    async def _is_still_old(self, attachment_id: str) -> bool:
        """Whether the bytes are there and nobody has put them again since they were listed."""
        now = await self.blobs.head(attachment_id)
        return now is not None and is_old(now, self.before_ms)

    async def _delete(self, blob: BlobStat, tally: _Tally) -> None:
        await self.blobs.delete(blob.attachment_id)
        self.seams("attachment.delete.after")
        tally.reclaimed += 1
        tally.reclaimed_bytes += blob.byte_len

    def _alarm(self, attachment_id: str, tally: _Tally) -> None:
        _log.error("attachment %s was deleted although it is referred to", attachment_id)
        tally.alarms.append(attachment_id)


def _refused(
    code: Literal["attachment_roots_unreadable", "attachment_roots_empty"], report: ReclaimReport
) -> LashError:
    if code == "attachment_roots_unreadable":
        message = (
            "Who refers to which attachment could not be read, so nothing was deleted: "
            f"{report.root_enumeration_failure}. Try again once the store answers."
        )
    else:
        message = (
            f"Nobody refers to any of the {report.scanned} attachments that lie here, so all of them "
            "would be deleted. That is more often the wrong database than the truth; nothing was "
            "deleted. If it is right, say allow_empty=True."
        )
    return LashError(code, message, report=msgspec.to_builtins(report))
