"""What a tool of an MCP server answered, as the output of a tool of lash. Pure."""

import base64
from collections.abc import Mapping, Sequence
from typing import cast

from lash.attachments.model import OCTETS, InlineSource, check_media_type
from lash.attachments.values import (
    ToolAttachment,
    ToolValue,
    attachments_of,
    encode_tool_value,
)
from lash.core.attachments import named_attachment
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.core.text import well_formed
from lash.tools.validation import InputSchema
from lash.turn.tools import (
    FailureClass,
    NeverRetry,
    RetryStatus,
    SafeToRetry,
    ToolFailed,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
)

#: How much of an answer is repeated in an error.
_LONGEST_QUOTE = 2000


def answer(server: str, tool: str, result: JsonObject, promised: InputSchema | None) -> ToolOutput:
    """The output of a call, from its result in MCP's own form.

    Structured content is preferred; what stands beside it is kept when it is more than the same as text.
    """
    try:
        plain = cast("JsonObject", to_json(mended(result)))
    except LashError as error:
        why = f"answered {tool} with something that cannot be stored: {error.message}"
        return failure("external", "mcp_result_invalid", f"MCP server {server!r} {why}")
    blocks = cast("Sequence[JsonObject]", plain.get("content") or ())
    pieces = [_told(block) for block in blocks]
    said = "\n".join(each if isinstance(each, str) else named(each) for each in pieces)
    structured = plain.get("structuredContent")
    if plain.get("isError") is True:
        message = said or f"The tool {tool} of MCP server {server!r} failed and did not say why."
        return failure("execution", "mcp_tool_error", message, raw=structured)
    lie = _misfit(plain, promised)
    if lie is not None:
        message = (
            f"MCP server {server!r} carried {tool} out, and its answer is not what it says that it "
            f"answers: {lie}."
        )
        shown = f"{message}\n{said[:_LONGEST_QUOTE]}".rstrip()
        return failure("external", "mcp_result_invalid", shown, raw=structured)
    if structured is None:
        return _success(_shown(pieces))
    if any(block.get("type") != "text" for block in blocks):
        return _success({"structured": structured, "content": _shown(pieces)})
    return _success(structured)


def _success(value: ToolValue) -> ToolOutput:
    if next(attachments_of(value), None) is None:
        return ToolOutput(outcome=ToolSuccess(payload=cast("JsonValue", value)))
    return ToolOutput(outcome=ToolSuccess(payload=encode_tool_value(value), has_attachments=True))


def _shown(pieces: Sequence[str | ToolAttachment]) -> ToolValue:
    """What a model is shown: text, one attachment, or both in order."""
    shown: list[str | ToolAttachment] = []
    for piece in pieces:
        if isinstance(piece, str) and shown and isinstance(shown[-1], str):
            shown[-1] += f"\n{piece}"
        else:
            shown.append(piece)
    if not shown:
        return ""
    return shown[0] if len(shown) == 1 else shown


def failure(
    failure_class: FailureClass,
    code: str,
    message: str,
    *,
    retry: RetryStatus | None = None,
    raw: JsonValue = None,
) -> ToolOutput:
    """The output of a call that failed."""
    return ToolOutput(
        outcome=ToolFailed(
            payload=ToolFailure(
                failure_class=failure_class,
                code=code,
                message=message,
                source="plugin",
                retry=retry or NeverRetry(),
                raw=raw,
            )
        )
    )


def safe(after_s: float | None = None) -> SafeToRetry:
    """That a call may be repeated, after a while."""
    return SafeToRetry(after_ms=None if after_s is None else round(after_s * 1000))


def named(attachment: ToolAttachment) -> str:
    """What stands for something that is no text where only text can be told, as in an error."""
    return named_attachment(attachment.source)


def _told(block: JsonObject) -> str | ToolAttachment:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            return _attached(str(kind), block, data)
        case {"type": "resource_link", "uri": str(uri)}:
            return f"[resource {block.get('name') or ''} {uri}]".replace("  ", " ")
        case {"type": "resource", "resource": {"uri": str(uri), "text": str(text)}}:
            return f"[resource {uri}]\n{text}"
        case {"type": "resource", "resource": {"uri": str(uri), "blob": str(data)} as resource}:
            return _attached("blob", cast("JsonObject", resource), data, uri)
        case _:
            return f"[content of the unknown kind {str(block.get('type'))[:40]!r}]"


def _attached(
    kind: str, block: JsonObject, data: str, uri: str | None = None
) -> str | ToolAttachment:
    """A picture, a sound or a file of a server, which the runtime stores."""
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError:  # also of binascii
        return f"[{kind} {uri or ''} that is not base64]".replace("  ", " ")
    try:
        media_type = check_media_type(str(block.get("mimeType")).partition(";")[0].strip())
    except LashError:
        media_type = OCTETS  # found out from the first bytes
    return ToolAttachment(source=InlineSource(data=content, media_type=media_type, label=uri))


def _misfit(result: JsonObject, promised: InputSchema | None) -> str | None:
    """Why a result is not what was promised; None when it is, or when nothing was."""
    if promised is None:
        return None
    if "structuredContent" not in result:
        return "it has no structured content"
    return promised.misfit(result["structuredContent"])


def mended(value: object) -> object:
    """The value with text that can be stored: servers send halves of emojis."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {well_formed(str(name)): mended(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [mended(part) for part in value]
    return value
