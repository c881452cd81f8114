"""What may become an attachment: from whom, of what kind, how large."""

from collections.abc import Collection
from typing import Literal, TypeAlias, get_args

from lash.attachments.model import (
    AttachmentSource,
    ExternalUrlSource,
    InlineSource,
    ProviderFileSource,
    StoredSource,
)
from lash.core.errors import ConfigurationError
from lash.core.json import Data

#: The largest attachment unless the host says otherwise: 256 MiB.
MAX_BYTES = 256 * 1024 * 1024


class HostProducer(Data, tag_field="producer", tag="host"):
    """The application, through the face."""


class TurnIngressProducer(Data, tag_field="producer", tag="turn_ingress"):
    """What comes with the input of a turn."""


class ToolProducer(Data, tag_field="producer", tag="tool"):
    """The result of a tool, or what its body puts."""

    tool_name: str = ""


AttachmentProducer: TypeAlias = HostProducer | TurnIngressProducer | ToolProducer
ProducerKind: TypeAlias = Literal["host", "turn_ingress", "tool"]
SourceKind: TypeAlias = Literal["inline", "stored", "external_url", "provider_file"]

HOST = HostProducer()

_KINDS: dict[type[AttachmentSource], SourceKind] = {
    InlineSource: "inline",
    StoredSource: "stored",
    ExternalUrlSource: "external_url",
    ProviderFileSource: "provider_file",
}


class AttachmentRefused(Data):
    """An attachment is not let in; `message` says why and what to do."""

    code: str
    message: str


class AttachmentPolicy(Data):
    """What may become an attachment. By default everything up to 256 MiB.

    Attributes:
        max_bytes: The largest one.
        media_types: Which kinds, each as `image/png`, `image/*` or `*/*`; None for all.
        producers: Who may: the host, the input of turns, tools.
        sources: Of which sorts; what is put counts as `inline`.

    Raises:
        ConfigurationError: `attachment_policy_invalid`.
    """

    max_bytes: int = MAX_BYTES
    media_types: Collection[str] | None = None
    producers: Collection[ProducerKind] = ("host", "turn_ingress", "tool")
    sources: Collection[SourceKind] = ("inline", "stored", "external_url", "provider_file")

    def __post_init__(self) -> None:
        """Refuse what would let in nothing, or anything, by mistake."""
        limit: object = self.max_bytes
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise _invalid("max_bytes must be a whole number, zero or more", limit)
        patterns: object = self.media_types
        if patterns is not None and (isinstance(patterns, str) or not _are_patterns(patterns)):
            raise _invalid("media_types must be a list of types such as 'image/*'", patterns)
        for name, given, known in (
            ("producers", self.producers, get_args(ProducerKind)),
            ("sources", self.sources, get_args(SourceKind)),
        ):
            if isinstance(given, str) or not set(given) <= set(known):
                raise _invalid(f"{name} must be a list of some of {', '.join(known)}", given)

    def admit(
        self, producer: AttachmentProducer, media_type: str, byte_len: int
    ) -> AttachmentRefused | None:
        """Why bytes are not let in, or None when they are."""
        return self._unwelcome(producer, "inline") or self._unfit(media_type, byte_len)

    def authorize(
        self, producer: AttachmentProducer, source: AttachmentSource
    ) -> AttachmentRefused | None:
        """Why a source is not let in, or None when it is."""
        refused = self._unwelcome(producer, _KINDS[type(source)])
        if refused is not None:
            return refused
        match source:
            case InlineSource(media_type=media_type, data=data):
                return self._unfit(media_type, len(data))
            case StoredSource(attachment_ref=ref):
                return self._unfit(ref.media_type, ref.byte_len)
            case ExternalUrlSource(media_type=media_type):
                return self._unfit(media_type, 0)  # nobody knows how much is there
            case ProviderFileSource():
                return None  # what it is was checked where it was uploaded

    def too_large(self, byte_len: int) -> AttachmentRefused | None:
        """Why so many bytes are not let in, or None when they are."""
        if byte_len <= self.max_bytes:
            return None
        return AttachmentRefused(
            code="attachment_too_large",
            message=f"The attachment is larger than the {self.max_bytes} bytes that are allowed here. "
            "Make it smaller, or give the runtime an attachment_policy with a higher max_bytes.",
        )

    def _unwelcome(
        self, producer: AttachmentProducer, kind: SourceKind
    ) -> AttachmentRefused | None:
        name = str(producer.__struct_config__.tag)
        if name in self.producers and kind in self.sources:
            return None
        return AttachmentRefused(
            code="attachment_not_admitted",
            message=f"The runtime's attachment_policy takes no attachment of sort {kind} from {name}.",
        )

    def _unfit(self, media_type: str, byte_len: int) -> AttachmentRefused | None:
        if self.media_types is not None and not _is_among(media_type, self.media_types):
            allowed = ", ".join(sorted(self.media_types)) or "none"
            return AttachmentRefused(
                code="attachment_not_admitted",
                message=f"The runtime's attachment_policy takes no {media_type}; it takes {allowed}.",
            )
        return self.too_large(byte_len)


def _are_patterns(patterns: object) -> bool:
    return isinstance(patterns, Collection) and all(
        isinstance(each, str) and each == each.lower() and each.count("/") == 1 for each in patterns
    )


def _invalid(why: str, given: object) -> ConfigurationError:
    return ConfigurationError(
        "attachment_policy_invalid", f"An attachment policy's {why}, not {given!r}."
    )


def _is_among(media_type: str, patterns: Collection[str]) -> bool:
    family = media_type.partition("/")[0]
    return not {media_type, f"{family}/*", "*/*"}.isdisjoint(patterns)
