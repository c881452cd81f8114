"""The bytes of a request's attachments: read just before a provider sends it, and kept nowhere."""

from collections.abc import Mapping

import msgspec

from lash.attachments.model import AttachmentRef, InlineSource, StoredSource
from lash.core.errors import LashError
from lash.llm.request import (
    AttachmentBlock,
    LlmBlock,
    LlmMessage,
    LlmRequest,
    TextBlock,
    ToolResultBlock,
)
from lash.llm.response import LlmFailure
from lash.runtime.attachments import SessionAttachmentStore
from lash.runtime.tool_attachments import OpenAttachments

#: What no later attempt changes: recorded as the call's failure. All else is tried again later.
_GONE = frozenset({"attachment_not_found", "attachment_corrupt", "attachment_id_invalid"})


async def resolved(
    request: LlmRequest, attachments: OpenAttachments | None
) -> LlmRequest | LlmFailure:
    """The request with the bytes of its stored attachments in their place; itself if it has none.

    What a session may not read any more is a failure, coded `attachment_resolution_failed`.

    Raises:
        StoreError: The store cannot be read now.
    """
    if not request.has_attachments:
        return request
    refs = {ref.id: ref for message in request.messages for ref in _stored(message)}
    if not refs:
        return request
    if attachments is None:
        return _failure(next(iter(refs.values())), "nothing here can read attachments")
    store = attachments(request.scope.session_id)
    read: dict[str, bytes] = {}
    for ref in refs.values():
        try:
            read[ref.id] = await _bytes(store, ref)
        except LashError as error:
            if error.code not in _GONE:
                raise
            return _failure(ref, error.message)
    messages = tuple(
        _filled(message, read) if any(_stored(message)) else message for message in request.messages
    )
    return msgspec.structs.replace(request, messages=messages)


async def _bytes(store: SessionAttachmentStore, ref: AttachmentRef) -> bytes:
    return (await store.get(ref.id)).data


def _failure(ref: AttachmentRef, why: str) -> LlmFailure:
    return LlmFailure(
        kind="validation",
        message=f"The model could not be shown attachment {ref.id} ({ref.media_type}): {why} Put the "
        "same bytes again, or fork the session before the message that shows it.",
        retryable=False,
        code="attachment_resolution_failed",
    )


def _stored(message: LlmMessage) -> list[AttachmentRef]:
    """The stored attachments of a message, in order."""
    blocks: list[LlmBlock] = []
    for block in message.blocks:
        blocks.extend(block.pieces if isinstance(block, ToolResultBlock) else (block,))
    return [
        block.source.attachment_ref
        for block in blocks
        if isinstance(block, AttachmentBlock) and isinstance(block.source, StoredSource)
    ]


def _filled(message: LlmMessage, read: Mapping[str, bytes]) -> LlmMessage:
    blocks = tuple(
        msgspec.structs.replace(block, pieces=tuple(_piece(each, read) for each in block.pieces))
        if isinstance(block, ToolResultBlock)
        else _piece(block, read)
        if isinstance(block, AttachmentBlock)
        else block
        for block in message.blocks
    )
    return msgspec.structs.replace(message, blocks=blocks)


def _piece(
    block: TextBlock | AttachmentBlock, read: Mapping[str, bytes]
) -> TextBlock | AttachmentBlock:
    if not isinstance(block, AttachmentBlock) or not isinstance(block.source, StoredSource):
        return block
    ref = block.source.attachment_ref
    inline = InlineSource(data=read[ref.id], media_type=ref.media_type, label=ref.label)
    return AttachmentBlock(source=inline)
