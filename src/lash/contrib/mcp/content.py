"""What a tool of an MCP server answered, as the output of a tool of lash. Pure."""

from collections.abc import Mapping, Sequence
from typing import cast

from lash.core.errors import LashError
from lash.core.json import Data, JsonObject, JsonValue, to_json
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


class Binary(Data):
    """A picture, a sound or a file in an answer.

    Attributes:
        kind: `image`, `audio` or `blob`.
        mime_type: What the server says it is.
        size: How many bytes, roughly.
        uri: Where it lies, for one that is a resource.
    """

    kind: str
    mime_type: str
    size: int
    uri: str | None = None


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
    said = "\n".join(_told(block) for block in blocks)
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
        return ToolOutput(outcome=ToolSuccess(payload=said))
    if any(block.get("type") != "text" for block in blocks):
        return ToolOutput(outcome=ToolSuccess(payload={"structured": structured, "content": said}))
    return ToolOutput(outcome=ToolSuccess(payload=structured))


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


def named(binary: Binary) -> str:
    """What stands in the text for something that is no text.

    The one place to change when attachments are to take its place.
    """
    where = f" {binary.uri}" if binary.uri else ""
    return f"[{binary.kind}{where} ({binary.mime_type}, {binary.size} bytes) is not shown]"


def _told(block: JsonObject) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            return named(_binary(str(kind), block, data))
        case {"type": "resource_link", "uri": str(uri)}:
            return f"[resource {block.get('name') or ''} {uri}]".replace("  ", " ")
        case {"type": "resource", "resource": {"uri": str(uri), "text": str(text)}}:
            return f"[resource {uri}]\n{text}"
        case {"type": "resource", "resource": {"uri": str(uri), "blob": str(data)} as resource}:
            return named(_binary("blob", cast("JsonObject", resource), data, uri))
        case _:
            return f"[content of the unknown kind {str(block.get('type'))[:40]!r}]"


def _binary(kind: str, block: JsonObject, data: str, uri: str | None = None) -> Binary:
    mime_type = str(block.get("mimeType") or "application/octet-stream")[:100]
    size = len(data.rstrip("=")) * 3 // 4  # it comes as base64
    return Binary(kind=kind, mime_type=mime_type, size=size, uri=uri)


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
