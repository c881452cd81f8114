"""Rendering a transcript into what a provider sees (turns spec 1.10).

Each message is rendered by itself, so the rendering of a longer transcript extends that of a shorter
one: requests of one session share their prefix, and a provider's prompt cache keeps working (D18).
"""

from collections.abc import Sequence

from lash.core.attachments import AttachmentSource, named_attachment
from lash.llm.request import (
    AttachmentBlock,
    LlmBlock,
    LlmMessage,
    LlmRole,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from lash.turn.messages import Cleared, Deleted, Message, Part, Summarized

_NOTE = "Runtime note:\n"
_EVENT = "Runtime event:\n"


def render_message(message: Message) -> LlmMessage | None:
    """The message as a provider sees it, or None when nothing of it is shown."""
    blocks = [block for part in message.parts if (block := _block(message, part)) is not None]
    if not blocks:
        return None
    role: LlmRole = "user" if message.role == "event" else message.role
    return LlmMessage(role=role, blocks=tuple(blocks))


def _block(message: Message, part: Part) -> LlmBlock | None:
    content = _shown(part)
    match part.kind:
        case "tool_call":
            return ToolCallBlock(
                call_id=part.tool_call_id or "",
                tool_name=part.tool_name or "",
                input_json=part.content,
                replay=part.replay,
            )
        case "tool_result":
            return ToolResultBlock(
                call_id=part.tool_call_id or "",
                content=content,
                tool_name=part.tool_name,
                # What was pruned is shown as it was pruned, its pictures with it.
                pieces=tuple(_piece(each) for each in part.pieces) if part.prune is None else (),
            )
        case "attachment":
            return _attachment(message, part, content)
        case "reasoning":
            # A provider takes reasoning back only with the proof it issued.
            return ReasoningBlock(text=part.content, replay=part.replay) if part.replay else None
        case _:
            return _text_block(message, part, content)


def _attachment(message: Message, part: Part, content: str) -> LlmBlock | None:
    if part.attachment is None or part.prune is not None:
        return _text_block(message, part, content)
    # Models take pictures from users; what else somebody puts one into can only name it.
    if message.role in {"user", "event"}:
        return AttachmentBlock(source=part.attachment)
    return _text_block(message, part, named_attachment(part.attachment))


def _piece(piece: str | AttachmentSource) -> TextBlock | AttachmentBlock:
    return TextBlock(text=piece) if isinstance(piece, str) else AttachmentBlock(source=piece)


def _text_block(message: Message, part: Part, content: str) -> TextBlock | None:
    if not content:
        return None
    if message.role == "system":
        if part.kind in {"output", "error"}:
            content = f"<{part.kind}>{content}</{part.kind}>"
        return TextBlock(text=_NOTE + content)
    if message.role == "event":
        return TextBlock(text=_EVENT + content)
    return TextBlock(text=content)


def _shown(part: Part) -> str:
    match part.prune:
        case None:
            return part.content
        case Cleared():
            return "[Old tool result content cleared]"
        case Deleted(breadcrumb=crumb, archive_hash=digest):
            return f"[pruned:{digest} — {crumb}]"
        case Summarized(summary=summary, archive_hash=digest):
            return f"[SUMMARY of original {digest}]\n{summary}"


class Projection:
    """The rendering of one growing transcript. Extending it costs what is new, not what is old.

    Attributes:
        has_attachments: Whether anything of it shows an attachment.
    """

    __slots__ = ("_rendered", "_sources", "has_attachments")

    def __init__(
        self,
        rendered: Sequence[LlmMessage] = (),
        sources: int = 0,
        *,
        has_attachments: bool | None = None,
    ) -> None:
        self._rendered: tuple[LlmMessage, ...] = tuple(rendered)
        self._sources = sources
        self.has_attachments = (
            any(map(_shows_attachments, self._rendered))
            if has_attachments is None
            else has_attachments
        )

    def extend(self, messages: Sequence[Message]) -> tuple[LlmMessage, ...]:
        """Render `messages`, of which the ones seen before must be unchanged."""
        if len(messages) > self._sources:
            rendered = (render_message(message) for message in messages[self._sources :])
            fresh = tuple(item for item in rendered if item is not None)
            self.has_attachments = self.has_attachments or any(map(_shows_attachments, fresh))
            self._rendered += fresh
            self._sources = len(messages)
        return self._rendered

    def fork(self) -> "Projection":
        """A projection that goes on from here without touching this one."""
        return Projection(self._rendered, self._sources, has_attachments=self.has_attachments)


def _shows_attachments(message: LlmMessage) -> bool:
    return any(
        isinstance(block, AttachmentBlock) or (isinstance(block, ToolResultBlock) and block.pieces)
        for block in message.blocks
    )
