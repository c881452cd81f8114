"""Attachments in what tools answer: stored before the answer is recorded, and shown at their place."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from lash.attachments.model import (
    OCTETS,
    AttachmentRef,
    InlineSource,
)
from lash.attachments.policy import AttachmentProducer, ToolProducer
from lash.attachments.values import (
    ToolValue,
    attachments_of,
    decode_tool_value,
    encode_tool_value,
    inline_sources,
    spliced,
    stored_ids,
    with_stored,
)
from lash.core.attachments import named_attachment
from lash.core.errors import LashError, StoreError
from lash.runtime.attachments import SessionAttachmentStore
from lash.turn.messages import Pieces
from lash.turn.tools import FinishControl, ToolOutput, ToolSuccess, failed, model_text

#: The attachments of a session, by its id.
OpenAttachments: TypeAlias = Callable[[str], SessionAttachmentStore]

#: Why the policy does not let something in.
_DENIED = frozenset({"attachment_not_admitted", "attachment_too_large"})


async def stored_output(
    name: str, output: ToolOutput, attachments: SessionAttachmentStore | None
) -> ToolOutput:
    """The output with its attachments stored and held, or the failure that takes its place."""
    if not isinstance(output.outcome, ToolSuccess) or not output.outcome.has_attachments:
        return output
    if attachments is None:
        message = "The tool answered with attachments, and nothing here can keep them."
        return failed("internal", "attachment_store_failed", message)
    try:
        value = decode_tool_value(output.outcome.payload)
        kept = await stored_value(value, attachments, ToolProducer(tool_name=name))
    except StoreError as error:
        return failed("internal", "attachment_store_failed", error.message)
    except LashError as error:
        if error.code in _DENIED:
            code = "attachment_source_policy_denied"
            return failed("permission_denied", code, error.message, source="policy")
        return failed("execution", error.code, error.message)
    payload = encode_tool_value(kept)
    ends = isinstance(output.control, FinishControl)
    return msgspec.structs.replace(
        output,
        outcome=ToolSuccess(payload=payload, has_attachments=True),
        control=FinishControl(value=payload) if ends else output.control,
    )


async def stored_value(
    value: ToolValue, attachments: SessionAttachmentStore, producer: AttachmentProducer
) -> ToolValue:
    """The value as it may be kept: what was inline is stored, and what was stored is held.

    Raises:
        LashError: `attachment_not_admitted`, `attachment_too_large`, `attachment_not_found`, and what
            putting raises. StoreError: It could not be stored.
    """
    sources = tuple(attachments_of(value))
    for source in sources:
        attachments.check(source, producer)
    refs = {
        source: await put_source(source, attachments, producer) for source in inline_sources(value)
    }
    for attachment_id in stored_ids(value):
        await attachments.hold(attachment_id)
    return with_stored(value, refs) if refs else value


async def put_source(
    source: InlineSource, attachments: SessionAttachmentStore, producer: AttachmentProducer
) -> AttachmentRef:
    """Keep the bytes of an inline attachment. Raises as `SessionAttachmentStore.put` does."""
    return await attachments.put(
        source.data,
        media_type=None if source.media_type == OCTETS else source.media_type,
        label=source.label,
        producer=producer,
    )


def pieces_of(output: ToolOutput) -> Pieces:
    """What a model is shown of an output: text and attachments, in order. Empty without attachments."""
    if not isinstance(output.outcome, ToolSuccess) or not output.outcome.has_attachments:
        return ()
    return spliced(decode_tool_value(output.outcome.payload))


def shown_text(output: ToolOutput, pieces: Pieces) -> str:
    """The same as text alone, with each attachment named."""
    if not pieces:
        return model_text(output)
    return "".join(each if isinstance(each, str) else named_attachment(each) for each in pieces)
