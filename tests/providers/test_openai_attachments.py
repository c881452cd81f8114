"""Pictures and documents on the wire of Chat Completions, through the official client."""

import pytest

import lash
from lash.core.attachments import AttachmentRef, AttachmentSource, ProviderScope
from lash.core.json import JsonValue
from lash.llm.request import (
    AttachmentBlock,
    HistoryRef,
    LlmMessage,
    LlmRequest,
    LlmScope,
    ModelSpec,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from lash.llm.response import ProviderFailure
from lash.providers._openai_wire import request_body
from lash.providers.openai import OpenAICompatible
from lash.testing.openai_server import Answer, HttpError, OpenAIServer

#: The first bytes of a PNG, and what they are in base64.
PNG = b"\x89PNG\r\n\x1a\n"
PNG_URL = "data:image/png;base64,iVBORw0KGgo="


def attached(source: AttachmentSource) -> AttachmentBlock:
    return AttachmentBlock(source=source)


PICTURE = attached(lash.InlineSource(data=PNG, media_type="image/png", label="cat.png"))
PDF = attached(lash.InlineSource(data=b"%PDF-1.7", media_type="application/pdf", label="a.pdf"))
SOUND = attached(lash.InlineSource(data=b"RIFF", media_type="audio/wav", label="a.wav"))


def request(*messages: LlmMessage) -> LlmRequest:
    return LlmRequest(
        model=ModelSpec(provider="openai", name="gpt-5.2"),
        instructions="",
        messages=messages,
        tools=(),
        history=HistoryRef(count=0, digest="none"),
        scope=LlmScope(session_id="s", request_id="s:turn:t:llm:0"),
    )


def said(*blocks: TextBlock | AttachmentBlock | ToolResultBlock) -> LlmMessage:
    return LlmMessage(role="user", blocks=blocks)


def content(*blocks: TextBlock | AttachmentBlock) -> JsonValue:
    """What the parts of a user's message are on the wire."""
    return messages(said(*blocks))[0]["content"]


def messages(*given: LlmMessage) -> list[dict[str, JsonValue]]:
    return request_body(request(*given))["messages"]  # type: ignore[return-value]  # it is a list


async def test_a_server_is_sent_pictures_and_documents_as_parts_of_the_users_message() -> None:
    outside = lash.ExternalUrlSource(media_type="image/png", url="https://example.com/a.png")
    async with OpenAIServer([Answer("A cat.")]) as server:
        provider = OpenAICompatible(api_key="sk-test", base_url=server.base_url)
        try:
            blocks = (TextBlock(text="See"), PICTURE, PDF, attached(outside))
            answer = await provider.complete(request(said(*blocks)), lambda _: None)
        finally:
            await provider.aclose()
    assert answer.full_text == "A cat."
    assert server.requests[0].body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": PNG_URL}},
                {
                    "type": "file",
                    "file": {
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,JVBERi0xLjc=",
                    },
                },
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        }
    ]


def test_a_tools_pictures_are_numbered_in_its_answer_and_follow_all_answers() -> None:
    calls = LlmMessage(
        role="assistant",
        blocks=tuple(
            ToolCallBlock(call_id=name, tool_name="draw", input_json="{}") for name in ("c1", "c2")
        ),
    )
    results = said(
        ToolResultBlock(
            call_id="c1",
            content="unused",
            pieces=(
                TextBlock(text='{"a":'),
                PICTURE,
                TextBlock(text=',"b":'),
                SOUND,
                TextBlock(text="}"),
            ),
        ),
        ToolResultBlock(call_id="c2", content="plain"),
    )
    assert messages(calls, results)[1:] == [
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": '{"a":[attachment 1 of the result of c1],"b":[attachment a.wav: audio/wav, '
            "4 bytes; it is not shown, as this API takes pictures, PDF documents and text only]}",
        },
        {"role": "tool", "tool_call_id": "c2", "content": "plain"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "attachment 1 of the result of c1:"},
                {"type": "image_url", "image_url": {"url": PNG_URL}},
            ],
        },
    ]


def test_text_is_shown_as_text_and_what_cannot_be_shown_is_named() -> None:
    notes = attached(lash.InlineSource(data=b"# Hi", media_type="text/markdown", label="n.md"))
    broken = attached(lash.InlineSource(data=b"\xff", media_type="text/plain"))
    page = attached(lash.ExternalUrlSource(media_type="text/html", url="https://example.com/"))
    why = "; it is not shown, as this API takes pictures, PDF documents and text only]"
    assert content(notes, broken, page) == [
        {"type": "text", "text": "[attachment n.md: text/markdown, 4 bytes]\n# Hi"},
        {"type": "text", "text": f"[attachment: text/plain, 1 bytes{why}"},
        {"type": "text", "text": f"[attachment https://example.com/: text/html{why}"},
    ]


def test_an_uploaded_file_is_named_to_the_provider_that_has_it_and_to_no_other() -> None:
    file = lash.ProviderFileSource(
        provider_scope=lash.ProviderScope(provider="openai", credential_scope="team"), id="file-1"
    )
    asked = request(said(attached(file)))
    body = request_body(asked, ProviderScope(provider="openai", credential_scope="team"))
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}
    ]
    with pytest.raises(ProviderFailure) as raised:
        request_body(asked, ProviderScope(provider="other", credential_scope="team"))
    assert raised.value.failure.code == "provider_binding_mismatch"
    with pytest.raises(ProviderFailure):
        request_body(asked)


async def test_a_request_without_the_bytes_is_refused_before_anything_is_sent() -> None:
    ref = AttachmentRef(id="0" * 64, media_type="image/png", byte_len=1)
    async with OpenAIServer([]) as server:
        provider = OpenAICompatible(api_key="sk-test", base_url=server.base_url)
        with pytest.raises(ProviderFailure) as raised:
            await provider.complete(
                request(said(attached(lash.StoredSource(attachment_ref=ref)))), lambda _: None
            )
        await provider.aclose()
        assert raised.value.failure.code == "stored_attachment_not_resolved"
        assert not server.requests


async def test_a_server_that_repeats_what_it_was_sent_has_no_bytes_recorded() -> None:
    echo = f"invalid image: {PNG_URL} is broken"
    async with OpenAIServer([HttpError(400, message=echo)]) as server:
        provider = OpenAICompatible(api_key="sk-test", base_url=server.base_url)
        with pytest.raises(ProviderFailure) as raised:
            await provider.complete(request(said(PICTURE)), lambda _: None)
        await provider.aclose()
    assert "data:image/png;base64,… is broken" in raised.value.failure.message
    assert "iVBOR" not in repr(raised.value.failure)
