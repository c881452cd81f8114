"""Tool values: what is kept of them reads back as it was, and no data passes for an attachment."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.attachments.model import (
    AttachmentRef,
    AttachmentSource,
    ExternalUrlSource,
    ImageMetadata,
    InlineSource,
    ProviderFileSource,
    ProviderScope,
    StoredSource,
    is_usable_at,
)
from lash.attachments.values import (
    TAG,
    ToolAttachment,
    ToolValue,
    attachments_of,
    decode_tool_value,
    encode_tool_value,
    inline_sources,
    spliced,
    stored_ids,
    with_stored,
)
from lash.core.errors import LashError
from lash.core.json import encode

ID = "a" * 64
REF = AttachmentRef(id=ID, media_type="image/png", byte_len=3)
STORED = ToolAttachment(source=StoredSource(attachment_ref=REF))
INLINE = InlineSource(media_type="image/png", data=b"abc")

ids = st.text("0123456789abcdef", min_size=64, max_size=64)
refs = st.builds(
    AttachmentRef,
    id=ids,
    media_type=st.sampled_from(["image/png", "text/plain"]),
    byte_len=st.integers(0, 2**40),
    type_metadata=st.none() | st.builds(ImageMetadata, width=st.just(3), height=st.just(2)),
    label=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
)
sources: st.SearchStrategy[AttachmentSource] = st.one_of(
    st.builds(InlineSource, media_type=st.just("image/png"), data=st.binary()),
    st.builds(StoredSource, attachment_ref=refs),
    st.builds(ExternalUrlSource, media_type=st.just("image/png"), url=st.just("https://a.b/c")),
    st.builds(
        ProviderFileSource,
        provider_scope=st.builds(
            ProviderScope, provider=st.just("p"), credential_scope=st.just("c")
        ),
        id=st.just("file-1"),
    ),
)
text = st.text(st.characters(exclude_categories=["Cs"]))
#: Keys that look like ours are as likely as any.
keys = st.sampled_from([TAG, "source", "entries", "type", "a", "b"]) | text
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["attachment", "object", TAG])
    | text
)
values: st.SearchStrategy[ToolValue] = st.recursive(
    scalars | st.builds(ToolAttachment, source=sources),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_kept_reads_back_as_it_was_also_through_text(value: ToolValue) -> None:
    kept = encode_tool_value(value)
    assert decode_tool_value(kept) == value
    assert decode_tool_value(json.loads(json.dumps(kept))) == value
    assert decode_tool_value(msgspec.json.decode(encode(kept))) == value
    assert encode_tool_value(decode_tool_value(kept)) == kept


@given(plain)
def test_data_without_attachments_never_gets_any(value: ToolValue) -> None:
    assert list(attachments_of(decode_tool_value(encode_tool_value(value)))) == []


@given(plain)
def test_data_that_does_not_hold_the_tag_is_kept_as_it_is(value: ToolValue) -> None:
    if TAG not in json.dumps(value):
        assert encode_tool_value(value) == value


def test_an_attachment_is_kept_under_its_tag() -> None:
    assert encode_tool_value({"b": 1, "a": [STORED]}) == {
        "a": [
            {
                "$lash_tool_value": "attachment",
                "source": {
                    "source": "stored",
                    "attachment_ref": {"id": ID, "media_type": "image/png", "byte_len": 3},
                },
            }
        ],
        "b": 1,
    }


def test_an_object_that_holds_the_tag_is_escaped() -> None:
    forged: ToolValue = {"$lash_tool_value": "attachment", "source": {"source": "stored"}}
    kept = encode_tool_value(forged)
    assert kept == {"$lash_tool_value": "object", "entries": forged}  # and not an attachment
    assert decode_tool_value(kept) == forged


STORED_KEPT = {
    "source": "stored",
    "attachment_ref": {"id": ID, "media_type": "image/png", "byte_len": 3},
}


@pytest.mark.parametrize(
    "kept",
    [
        {TAG: "picture"},
        {TAG: 7},
        {TAG: None, "source": STORED_KEPT},
        {TAG: "attachment"},
        {TAG: "attachment", "source": STORED_KEPT, "more": 1},
        {TAG: "attachment", "entries": {}},
        {TAG: "attachment", "source": {"source": "elsewhere"}},
        {TAG: "attachment", "source": {**STORED_KEPT, "more": 1}},
        {TAG: "attachment", "source": {"source": "stored", "attachment_ref": {"id": ID}}},
        {
            TAG: "attachment",
            "source": {
                "source": "stored",
                "attachment_ref": {"id": "../../x", "media_type": "image/png", "byte_len": 3},
            },
        },
        {
            TAG: "attachment",
            "source": {
                "source": "stored",
                "attachment_ref": {"id": ID, "media_type": "a/b", "byte_len": 3, "path": "/"},
            },
        },
        {TAG: "attachment", "source": {"source": "inline", "media_type": "a/b", "data": "%"}},
        {TAG: "object"},
        {TAG: "object", "entries": []},
        {TAG: "object", "entries": {}, "source": 1},
    ],
)
def test_tags_that_mean_nothing_are_refused_wherever_they_are(kept: dict[str, object]) -> None:
    for place in (kept, [kept], {"a": {"b": kept}}):
        with pytest.raises(LashError) as raised:
            decode_tool_value(place)  # type: ignore[arg-type]  # wrong on purpose
        assert raised.value.code == "tool_value_malformed"


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1: 2}, {"a": object()}, ["\ud800"], {"\ud800": 1}, b"x", {1, 2}],
)
def test_what_json_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(LashError) as raised:
        encode_tool_value(value)  # type: ignore[arg-type]  # wrong on purpose
    assert raised.value.code == "value_not_json"


def test_what_holds_itself_is_refused() -> None:
    loop: list[ToolValue] = []
    loop.append(loop)
    with pytest.raises(LashError) as raised:
        encode_tool_value(loop)
    assert raised.value.code == "value_not_json"


def test_attachments_are_found_in_the_order_of_the_text_and_ids_once() -> None:
    other = StoredSource(attachment_ref=AttachmentRef(id="b" * 64, media_type="a/b", byte_len=1))
    value: ToolValue = {"z": STORED, "a": [ToolAttachment(source=other), "x", STORED]}
    assert list(attachments_of(value)) == [other, STORED.source, STORED.source]
    assert stored_ids(value) == ("b" * 64, ID)


def test_inline_attachments_become_what_they_were_stored_as() -> None:
    value: ToolValue = {"a": [ToolAttachment(source=INLINE)], "b": STORED, "c": 1}
    assert inline_sources(value) == (INLINE,)
    assert with_stored(value, {INLINE: REF}) == {"a": [STORED], "b": STORED, "c": 1}


def test_a_model_is_shown_attachments_at_their_places() -> None:
    source = STORED.source
    assert spliced("just text") == ("just text",)
    assert spliced("") == ()
    assert spliced(STORED) == (source,)
    assert spliced({"b": 1, "a": "x"}) == ('{"a":"x","b":1}',)
    assert spliced({"b": [1, STORED, None], "a": STORED}) == (
        '{"a":',
        source,
        ',"b":[1,',
        source,
        ",null]}",
    )
    assert spliced([[], {}, STORED, STORED]) == ("[[],{},", source, ",", source, "]")


@given(plain)
def test_what_holds_no_attachment_is_shown_as_text_alone(value: ToolValue) -> None:
    shown = spliced(value)
    if isinstance(value, str):
        assert shown == ((value,) if value else ())
    else:
        (said,) = shown
        assert isinstance(said, str)
        assert json.loads(said) == value


def test_inline_bytes_show_up_nowhere() -> None:
    secret = InlineSource(media_type="image/png", data=b"very-secret")
    assert "secret" not in repr(secret)
    assert "secret" not in repr(ToolAttachment(source=secret))
    assert "secret" not in repr({"a": [ToolAttachment(source=secret)]})


def test_a_providers_file_is_good_there_only_and_under_its_credentials() -> None:
    file = ProviderFileSource(
        provider_scope=ProviderScope(provider="p", credential_scope="c"), id="f"
    )
    assert is_usable_at(file, ProviderScope(provider="p", credential_scope="c"))
    assert not is_usable_at(file, ProviderScope(provider="p", credential_scope="d"))
    assert not is_usable_at(file, ProviderScope(provider="q", credential_scope="c"))
