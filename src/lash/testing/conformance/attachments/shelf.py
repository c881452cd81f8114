"""A store's attachments with short ways to use them, and the class that their properties are made from."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import pytest

from lash.attachments.model import AttachmentMeta, AttachmentOwner, ProcessOwner, TurnOwner
from lash.attachments.policy import AttachmentPolicy
from lash.attachments.store import AttachmentManifest, BlobStore
from lash.attachments.transitions import (
    AttachmentIntent,
    CondemnAnswer,
    Sweeper,
    WriteAnswer,
    WriteGranted,
)
from lash.core.errors import LashError
from lash.core.leases import LeaseOwner
from lash.core.seams import SeamObserver, unobserved
from lash.runtime.attachment_content import BytesContent
from lash.runtime.attachment_reclaim import Reclaim, ReclaimReport
from lash.runtime.attachments import SessionAttachmentStore
from lash.testing.conformance.rig import Properties, Rig, expect

T = TypeVar("T")

#: How long a sweep leaves alone what is new.
GRACE_MS = 3_600_000

#: Whose sweeps there are.
WANDA = Sweeper(owner=LeaseOwner(owner_id="wanda", incarnation="wanda-1"), nonce="n1")
OTTO = Sweeper(owner=LeaseOwner(owner_id="otto", incarnation="otto-1"), nonce="n2")


def id_of(text: str) -> str:
    """The id that a text's bytes must have."""
    return hashlib.sha256(text.encode()).hexdigest()


def content(text: str) -> BytesContent:
    """A text on its way into a store of bytes."""
    return BytesContent(text.encode())


def turn(turn_id: str) -> TurnOwner:
    """A turn as an owner."""
    return TurnOwner(turn_id=turn_id)


def process(process_id: str) -> ProcessOwner:
    """A process as an owner."""
    return ProcessOwner(process_id=process_id)


def intent(
    text: str, owner: AttachmentOwner = None, *, session: str = "s", label: str | None = None
) -> AttachmentIntent:
    """Somebody is about to write a text."""
    meta = AttachmentMeta(media_type="text/plain", byte_len=len(text.encode()), label=label)
    return AttachmentIntent(session_id=session, attachment_id=id_of(text), meta=meta, owner=owner)


class Shelf:
    """The attachments of a store under test.

    Args:
        rig: The store, and its sessions.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    @property
    def manifest(self) -> AttachmentManifest:
        """Who refers to what, in the store as it is open now."""
        return self.rig.store.attachments

    @property
    def blobs(self) -> BlobStore:
        """The bytes of the store as it is open now."""
        return self.rig.store.blobs

    async def interlude(self) -> None:
        """Close the store and open it again, in the run that does."""
        await self.rig.interlude()

    def age(self) -> None:
        """Let all that was put be old enough for a sweep."""
        self.rig.clock.advance(GRACE_MS / 1000)

    def session(
        self,
        session: str = "s",
        *,
        manifest: AttachmentManifest | None = None,
        blobs: BlobStore | None = None,
        is_dead: Callable[[LeaseOwner], bool] | None = None,
    ) -> SessionAttachmentStore:
        """What a session does with attachments."""
        return SessionAttachmentStore(
            session,
            manifest or self.manifest,
            blobs or self.blobs,
            AttachmentPolicy(),
            clock=self.rig.clock,
            is_dead=is_dead or self.rig.store.is_dead,
            seams=unobserved,
        )

    async def begin(self, wanted: AttachmentIntent) -> WriteAnswer:
        """Record an intent."""
        return await self.manifest.begin_write(wanted)

    async def refer(self, text: str, owner: AttachmentOwner = None, *, session: str = "s") -> str:
        """Record an intent that must be granted; the id."""
        expect(WriteGranted, await self.begin(intent(text, owner, session=session)))
        return id_of(text)

    async def put(self, text: str, owner: AttachmentOwner = None, *, session: str = "s") -> str:
        """Put a text for an owner, first the intent and then the bytes; its id."""
        await self.refer(text, owner, session=session)
        return await self.blobs.put(id_of(text), content(text))

    async def held(self, session: str = "s") -> dict[str, bool]:
        """What a session refers to, and whether that stays."""
        return {
            entry.intent.attachment_id: entry.committed_at_ms is not None
            for entry in await self.manifest.list_refs(session)
        }

    async def kept(self) -> set[str]:
        """Whose bytes are kept."""
        return {stat.attachment_id for stat in await self.blobs.list()}

    async def has(self, attachment_id: str) -> bool:
        """Whether bytes are kept."""
        return await self.blobs.head(attachment_id) is not None

    async def sweep(
        self,
        *,
        grace_ms: int = GRACE_MS,
        sweeper: Sweeper = WANDA,
        allow_empty: bool = True,
        clear_stuck: bool = False,
        is_dead: Callable[[LeaseOwner], bool] | None = None,
        manifest: AttachmentManifest | None = None,
        blobs: BlobStore | None = None,
        seams: SeamObserver = unobserved,
    ) -> ReclaimReport:
        """Sweep once."""
        return await Reclaim(
            manifest=manifest or self.manifest,
            blobs=blobs or self.blobs,
            sweeper=sweeper,
            before_ms=self.rig.clock.now_ms() - grace_ms,
            allow_empty=allow_empty,
            clear_stuck=clear_stuck,
            is_dead=is_dead or self.rig.store.is_dead,
            seams=seams,
        ).run()

    async def refusal(
        self, *, manifest: AttachmentManifest | None = None, allow_empty: bool = False
    ) -> LashError:
        """Why a sweep was refused that must be."""
        return await error_of(self.sweep(manifest=manifest, allow_empty=allow_empty))


async def error_of(call: Awaitable[object]) -> LashError:
    """The error that a call must raise."""
    with pytest.raises(LashError) as raised:
        await call
    return raised.value


class AttachmentProperties(Properties):
    """What every group of properties of attachments is made from."""

    @asynccontextmanager
    async def shelf(self) -> AsyncIterator[Shelf]:
        """The attachments of a new store."""
        async with self.rig() as rig:
            yield Shelf(rig)


# --- doubles ----------------------------------------------------------------------------------------


class _Around:
    def __init__(self, inner: object, instead: Mapping[str, Callable[..., object]]) -> None:
        self._inner = inner
        self._instead = instead

    def __getattr__(self, name: str) -> object:
        return self._instead.get(name) or getattr(self._inner, name)


def around(inner: T, **instead: Callable[..., object]) -> T:
    """The same thing, of which some methods are others."""
    return cast("T", _Around(inner, instead))


async def unsupported(attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
    """What a manifest without a fence answers to `condemn`."""
    del attachment_id, sweeper
    return "unsupported"
