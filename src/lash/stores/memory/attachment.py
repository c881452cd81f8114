"""Attachments in memory: all that is kept of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from lash.attachments.model import AttachmentOwner, ProcessOwner, TurnOwner
from lash.attachments.transitions import AttachmentEntry, AttachmentIntent, Condemnation


class RefKey(NamedTuple):
    """Whose reference to what."""

    session_id: str
    attachment_id: str
    owner: AttachmentOwner


@dataclass(slots=True)
class HeldAttachments:
    """All references, and the fences of contents that are not free."""

    refs: dict[RefKey, AttachmentEntry] = field(default_factory=dict)
    fences: dict[str, Condemnation] = field(default_factory=dict)

    def add(self, intent: AttachmentIntent, now_ms: int) -> None:
        """Keep a reference; one that is there gets a new time."""
        key = RefKey(intent.session_id, intent.attachment_id, intent.owner)
        before = self.refs.get(key)
        self.refs[key] = AttachmentEntry(
            intent=intent,
            intent_at_ms=now_ms,
            committed_at_ms=before.committed_at_ms if before else None,
        )

    def of(self, session_id: str, attachment_id: str | None = None) -> list[AttachmentEntry]:
        """A session's references, to one content or to all."""
        return [
            entry
            for key, entry in self.refs.items()
            if key.session_id == session_id and attachment_id in {None, key.attachment_id}
        ]

    def has_root(self, attachment_id: str) -> bool:
        """Whether anybody refers to a content."""
        return any(key.attachment_id == attachment_id for key in self.refs)

    def missing(self, session_id: str, attachment_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Which contents a session does not refer to."""
        return tuple(each for each in attachment_ids if not self.of(session_id, each))

    def commit(self, session_id: str, attachment_ids: tuple[str, ...], now_ms: int) -> None:
        """Stamp a session's references to some contents."""
        for each in attachment_ids:
            self._stamp(self.of(session_id, each), now_ms)

    def commit_turn(
        self, session_id: str, turn_id: str, adopted: tuple[str, ...], now_ms: int
    ) -> None:
        """Stamp what a turn owns, and what it has adopted."""
        owner = TurnOwner(turn_id=turn_id)
        self._stamp([entry for entry in self.of(session_id) if entry.intent.owner == owner], now_ms)
        self.commit(session_id, adopted, now_ms)

    def forget(self, session_id: str, attachment_id: str | None = None) -> int:
        """Drop a session's references, to one content or to all; how many."""
        gone = self.of(session_id, attachment_id)
        for entry in gone:
            del self.refs[_key(entry)]
        return len(gone)

    def share(self, source_id: str, new_id: str, now_ms: int) -> None:
        """Give a fork what its source had committed, as its own."""
        for attachment_id, entry in best(self.of(source_id)):
            if entry.committed_at_ms is not None:
                intent = msgspec.structs.replace(entry.intent, session_id=new_id, owner=None)
                shared = AttachmentEntry(intent=intent, intent_at_ms=entry.intent_at_ms)
                own = self.refs.setdefault(RefKey(new_id, attachment_id, None), shared)
                self._stamp([own], now_ms)

    def _stamp(self, entries: list[AttachmentEntry], now_ms: int) -> None:
        for entry in entries:
            if entry.committed_at_ms is None:
                self.refs[_key(entry)] = msgspec.structs.replace(entry, committed_at_ms=now_ms)


def _key(entry: AttachmentEntry) -> RefKey:
    intent = entry.intent
    return RefKey(intent.session_id, intent.attachment_id, intent.owner)


def best(entries: list[AttachmentEntry]) -> Iterator[tuple[str, AttachmentEntry]]:
    """One reference for each content, by id: a committed one first, then the newest."""
    found: dict[str, AttachmentEntry] = {}
    for entry in sorted(entries, key=_rank):
        found.setdefault(entry.intent.attachment_id, entry)
    return iter(sorted(found.items()))


def _rank(entry: AttachmentEntry) -> tuple[bool, int, str, str]:
    return (entry.committed_at_ms is None, -entry.intent_at_ms, *_owner(entry))


def by_age(entry: AttachmentEntry) -> tuple[int, str, str, str, str]:
    """What references are sorted by, oldest first."""
    intent = entry.intent
    return (entry.intent_at_ms, intent.session_id, intent.attachment_id, *_owner(entry))


def _owner(entry: AttachmentEntry) -> tuple[str, str]:
    match entry.intent.owner:
        case None:
            return ("", "")
        case TurnOwner(turn_id=name):
            return ("turn", name)
        case ProcessOwner(process_id=name):
            return ("process", name)
