"""Whose attachments are: the owners of references. What attachments are made of is `lash.core.attachments`."""

from typing import TypeAlias

from lash.core.attachments import (
    OCTETS,
    AttachmentMeta,
    AttachmentRef,
    AttachmentSource,
    ExternalUrlSource,
    ImageMetadata,
    InlineSource,
    ProviderFileSource,
    ProviderScope,
    StoredSource,
    canonical_uri,
    check_attachment_id,
    check_media_type,
    is_usable_at,
    ref_of,
)
from lash.core.json import Data

__all__ = [
    "OCTETS",
    "Attachment",
    "AttachmentMeta",
    "AttachmentOwner",
    "AttachmentRef",
    "AttachmentSource",
    "ExternalUrlSource",
    "ImageMetadata",
    "InlineSource",
    "ProcessOwner",
    "ProviderFileSource",
    "ProviderScope",
    "StoredSource",
    "TurnOwner",
    "canonical_uri",
    "check_attachment_id",
    "check_media_type",
    "is_usable_at",
    "process_session_id",
    "ref_of",
]


class Attachment(Data):
    """Bytes, and what is said of them. The bytes show up in no representation of it."""

    ref: AttachmentRef
    data: bytes

    def __repr__(self) -> str:
        return f"Attachment({self.ref!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("ref", self.ref)]


# --- owners -----------------------------------------------------------------------------------------


class TurnOwner(Data, tag_field="kind", tag="turn"):
    """A turn of the session that holds the reference."""

    turn_id: str


class ProcessOwner(Data, tag_field="kind", tag="process"):
    """A process, whichever session holds the reference."""

    process_id: str


#: Whose work an attachment was put for; None for nobody's in particular.
AttachmentOwner: TypeAlias = TurnOwner | ProcessOwner | None


def process_session_id(process_id: str) -> str:
    """Where the references of a process lie that belong to no session."""
    return f"process-env:{process_id}"
