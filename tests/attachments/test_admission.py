"""What may become an attachment."""

import pytest

from lash import Runtime
from lash.attachments.model import (
    AttachmentRef,
    AttachmentSource,
    ExternalUrlSource,
    InlineSource,
    ProviderFileSource,
    ProviderScope,
    StoredSource,
    check_media_type,
)
from lash.attachments.policy import (
    HOST,
    AttachmentPolicy,
    AttachmentProducer,
    ToolProducer,
    TurnIngressProducer,
)
from lash.core.errors import ConfigurationError

INLINE = InlineSource(media_type="image/png", data=b"abc")
STORED = StoredSource(
    attachment_ref=AttachmentRef(id="a" * 64, media_type="image/png", byte_len=300)
)
URL = ExternalUrlSource(media_type="image/png", url="https://a.b/c")
FILE = ProviderFileSource(provider_scope=ProviderScope(provider="p"), id="f")
PRODUCERS: tuple[AttachmentProducer, ...] = (
    HOST,
    TurnIngressProducer(),
    ToolProducer(tool_name="draw"),
)


def test_by_default_everything_is_let_in_up_to_a_size() -> None:
    policy = AttachmentPolicy()
    for producer in PRODUCERS:
        for source in (INLINE, STORED, URL, FILE):
            assert policy.authorize(producer, source) is None
        assert policy.admit(producer, "x/y", 268_435_456) is None
        refused = policy.admit(producer, "x/y", 268_435_457)
        assert refused is not None
        assert refused.code == "attachment_too_large"


@pytest.mark.parametrize(
    ("policy", "producer", "source", "code"),
    [
        (AttachmentPolicy(max_bytes=2), HOST, INLINE, "attachment_too_large"),
        (AttachmentPolicy(max_bytes=299), HOST, STORED, "attachment_too_large"),
        (AttachmentPolicy(max_bytes=0), HOST, URL, None),
        (AttachmentPolicy(media_types=["image/*"]), HOST, INLINE, None),
        (AttachmentPolicy(media_types=["image/png"]), HOST, STORED, None),
        (AttachmentPolicy(media_types=["*/*"]), HOST, URL, None),
        (AttachmentPolicy(media_types=["image/gif"]), HOST, URL, "attachment_not_admitted"),
        (AttachmentPolicy(media_types=[]), HOST, INLINE, "attachment_not_admitted"),
        (AttachmentPolicy(media_types=[]), HOST, FILE, None),
        (AttachmentPolicy(sources=["stored"]), HOST, URL, "attachment_not_admitted"),
        (AttachmentPolicy(sources=["stored"]), HOST, FILE, "attachment_not_admitted"),
        (AttachmentPolicy(sources=["stored"]), HOST, STORED, None),
        (AttachmentPolicy(producers=["tool"]), HOST, STORED, "attachment_not_admitted"),
        (AttachmentPolicy(producers=["tool"]), PRODUCERS[1], FILE, "attachment_not_admitted"),
        (AttachmentPolicy(producers=["tool"]), PRODUCERS[2], STORED, None),
    ],
)
def test_a_policy_says_who_may_bring_what(
    policy: AttachmentPolicy,
    producer: AttachmentProducer,
    source: AttachmentSource,
    code: str | None,
) -> None:
    refused = policy.authorize(producer, source)
    assert (refused.code if refused else None) == code


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": -1},
        {"max_bytes": "5MB"},
        {"max_bytes": True},
        {"media_types": "image/png"},
        {"media_types": ["image"]},
        {"media_types": ["Image/PNG"]},
        {"media_types": [7]},
        {"media_types": 7},
        {"producers": "host"},
        {"producers": ["anybody"]},
        {"sources": ["stored", "elsewhere"]},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        AttachmentPolicy(**options)  # type: ignore[arg-type]  # wrong on purpose
    assert raised.value.code == "attachment_policy_invalid"


def test_a_runtime_takes_nothing_else_for_a_policy() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Runtime(":memory:", attachment_policy={"max_bytes": 5})  # type: ignore[arg-type]  # wrong on purpose
    assert raised.value.code == "attachment_policy_invalid"


def test_media_types_are_lower_case_and_have_no_parameters() -> None:
    assert check_media_type("Image/SVG+xml") == "image/svg+xml"
    for bad in ("", "image", "image/", "/png", "image/png;q=1", " image/png", "a/b/c", "ü/x", None):
        with pytest.raises(Exception, match="media type") as raised:
            check_media_type(bad)
        assert getattr(raised.value, "code", "") == "attachment_media_type_invalid"
