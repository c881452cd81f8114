"""What attachments are made of: ids, media types, references and sources."""

import re
from typing import TypeAlias

from lash.core.errors import LashError
from lash.core.json import Data

#: What an id looks like. Whatever does not is never used as a path, nor as a key.
_ID = re.compile(r"[0-9a-f]{64}")
_TOKEN = r"[a-z0-9!#$&^_.+-]+"  # noqa: S105  a token of RFC 6838 in lower case, no secret
_MEDIA_TYPE = re.compile(f"{_TOKEN}/{_TOKEN}")
#: Longer names are nobody's.
_MEDIA_TYPE_MAX = 127

#: What is known of bytes of which nothing is known.
OCTETS = "application/octet-stream"


def check_attachment_id(value: object) -> str:
    """The id, which must be the SHA-256 of the content as 64 lowercase hexadecimal digits.

    Raises:
        LashError: `attachment_id_invalid`.
    """
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise LashError(
            "attachment_id_invalid",
            "An attachment's id is the SHA-256 of its bytes, as 64 lowercase hexadecimal digits; this "
            "is not one. Use the id that `put` returned.",
        )
    return value


def check_media_type(value: object) -> str:
    """A media type as `type/subtype`, in lower case and without parameters.

    Raises:
        LashError: `attachment_media_type_invalid`.
    """
    text = value.lower() if isinstance(value, str) else ""
    if len(text) > _MEDIA_TYPE_MAX or _MEDIA_TYPE.fullmatch(text) is None:
        raise LashError(
            "attachment_media_type_invalid",
            f"{value!r:.200} is no media type. Give type and subtype and nothing else, such as "
            "'image/png'.",
        )
    return text


class ImageMetadata(Data, tag_field="type", tag="image"):
    """How large a picture is, in pixels."""

    width: int
    height: int


class AttachmentMeta(Data):
    """What is said of an attachment. The same bytes may be called differently in every session.

    Attributes:
        media_type: What the bytes are.
        byte_len: How many there are.
        type_metadata: The size, if they are a picture of a kind whose header we can read.
        label: What people call it.
    """

    media_type: str
    byte_len: int
    type_metadata: ImageMetadata | None = None
    label: str | None = None


class AttachmentRef(Data):
    """A stored attachment: its id, and what is said of it (`AttachmentMeta`)."""

    id: str
    media_type: str
    byte_len: int
    type_metadata: ImageMetadata | None = None
    label: str | None = None

    @property
    def uri(self) -> str:
        """The attachment's one name for ever."""
        return canonical_uri(self.id)


def ref_of(attachment_id: str, meta: AttachmentMeta) -> AttachmentRef:
    """The reference to an attachment of which this is said."""
    return AttachmentRef(
        id=attachment_id,
        media_type=meta.media_type,
        byte_len=meta.byte_len,
        type_metadata=meta.type_metadata,
        label=meta.label,
    )


def canonical_uri(attachment_id: str) -> str:
    """The one name of an attachment for ever."""
    return f"lash-attachment://sha256/{attachment_id}"


# --- sources ----------------------------------------------------------------------------------------


class ProviderScope(Data):
    """At which provider a file lies, and under which credentials it can be seen."""

    provider: str
    credential_scope: str = ""


class InlineSource(Data, tag_field="source", tag="inline"):
    """The bytes themselves, base64 on the wire. Becomes a stored one before anything keeps it.

    Attributes:
        data: The bytes.
        media_type: What they are; found out from the first bytes unless it is said.
        label: What people call them.
    """

    data: bytes
    media_type: str = OCTETS
    label: str | None = None

    def __repr__(self) -> str:
        return f"InlineSource(media_type={self.media_type!r}, {len(self.data)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("media_type", self.media_type), ("bytes", len(self.data))]


class StoredSource(Data, tag_field="source", tag="stored"):
    """An attachment of the store."""

    attachment_ref: AttachmentRef


class ExternalUrlSource(Data, tag_field="source", tag="external_url"):
    """Bytes that the provider fetches by itself. lash never does."""

    media_type: str
    url: str


class ProviderFileSource(Data, tag_field="source", tag="provider_file"):
    """A file that was uploaded to a provider before. Good there only, and under those credentials."""

    provider_scope: ProviderScope
    id: str


AttachmentSource: TypeAlias = InlineSource | StoredSource | ExternalUrlSource | ProviderFileSource


def is_usable_at(source: ProviderFileSource, scope: ProviderScope) -> bool:
    """Whether a provider's file may be named in a request to `scope`."""
    return source.provider_scope == scope


def named_attachment(source: AttachmentSource) -> str:
    """What an attachment is called where only text can stand: never its bytes."""
    label: str | None
    said: str
    match source:
        case InlineSource(media_type=media_type, data=data, label=label):
            said = f"{media_type}, {len(data)} bytes"
        case StoredSource(attachment_ref=ref):
            label, said = ref.label, f"{ref.media_type}, {ref.byte_len} bytes"
        case ExternalUrlSource(media_type=media_type, url=url):
            label, said = url, media_type
        case ProviderFileSource(provider_scope=scope, id=file_id):
            label, said = file_id, f"a file at {scope.provider}"
    return f"[attachment {label}: {said}]" if label else f"[attachment: {said}]"
