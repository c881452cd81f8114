"""Attachments as parts of Chat Completions messages, and what stands for those that it cannot take. Pure."""

import base64
from collections.abc import Sequence

from lash.core.attachments import (
    AttachmentSource,
    ExternalUrlSource,
    InlineSource,
    ProviderFileSource,
    ProviderScope,
    StoredSource,
    is_usable_at,
    named_attachment,
)
from lash.core.json import JsonValue
from lash.llm.request import AttachmentBlock, TextBlock, ToolResultBlock
from lash.llm.response import LlmFailure, ProviderFailure

#: The pictures that the API takes.
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def content_parts(
    blocks: Sequence[TextBlock | AttachmentBlock], scope: ProviderScope
) -> list[JsonValue]:
    """The parts of a user's message. What the API cannot take is named in its place.

    Raises:
        ProviderFailure: `provider_binding_mismatch`, `stored_attachment_not_resolved`.
    """
    return [
        text_part(block.text)
        if isinstance(block, TextBlock)
        else _part(block.source, scope) or text_part(_unshown(block.source))
        for block in blocks
    ]


def text_part(text: str) -> JsonValue:
    """A piece of text."""
    return {"type": "text", "text": text}


def tool_result(
    block: ToolResultBlock, scope: ProviderScope
) -> tuple[JsonValue, Sequence[JsonValue]]:
    """The message that answers a call, and what a user's message shows behind it.

    The API takes nothing but text from tools. So each attachment stands as a number in the answer, and
    under that number in the message of a user that follows the answers.

    Raises:
        ProviderFailure: As `content_parts`.
    """
    said: list[str] = []
    behind: list[JsonValue] = []
    number = 0
    for piece in block.pieces:
        if isinstance(piece, TextBlock):
            said.append(piece.text)
            continue
        part = _part(piece.source, scope)
        if part is None:
            said.append(_unshown(piece.source))
            continue
        number += 1
        name = f"attachment {number} of the result of {block.call_id}"
        said.append(f"[{name}]")
        behind += [text_part(f"{name}:"), part]
    content = "".join(said) if block.pieces else block.content
    return {"role": "tool", "tool_call_id": block.call_id, "content": content}, behind


def _part(source: AttachmentSource, scope: ProviderScope) -> JsonValue:
    """An attachment as a part of a message; None when the API takes no such thing."""
    match source:
        case InlineSource(media_type=media_type, data=data) if media_type in _IMAGES:
            return {"type": "image_url", "image_url": {"url": _data_url(media_type, data)}}
        case InlineSource(media_type="application/pdf", data=data, label=label):
            named = label if label and label.lower().endswith(".pdf") else "document.pdf"
            file = {"filename": named, "file_data": _data_url("application/pdf", data)}
            return {"type": "file", "file": file}
        case InlineSource(media_type=media_type, data=data):
            text = _text(media_type, data)
            return None if text is None else text_part(f"{named_attachment(source)}\n{text}")
        case ExternalUrlSource(media_type=media_type, url=url) if media_type.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": url}}
        case ExternalUrlSource():
            return None
        case ProviderFileSource(id=file_id):
            if not is_usable_at(source, scope):
                raise _refused(
                    "provider_binding_mismatch",
                    f"A file that lies at {source.provider_scope.provider!r} cannot be shown to a model "
                    f"of {scope.provider!r}, or not under these credentials. Attach its bytes instead.",
                )
            return {"type": "file", "file": {"file_id": file_id}}
        case StoredSource(attachment_ref=ref):
            raise _refused(
                "stored_attachment_not_resolved",
                f"The request names attachment {ref.id} and does not hold its bytes.",
            )


def _text(media_type: str, data: bytes) -> str | None:
    if not media_type.startswith("text/") and media_type != "application/json":
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _unshown(source: AttachmentSource) -> str:
    name = named_attachment(source).removesuffix("]")
    return f"{name}; it is not shown, as this API takes pictures, PDF documents and text only]"


def _refused(code: str, message: str) -> ProviderFailure:
    return ProviderFailure(
        LlmFailure(kind="validation", message=message, retryable=False, code=code)
    )
