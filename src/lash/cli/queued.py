"""What waits in a session's queue, as the commands tell it."""

from lash.core.attachments import named_attachment
from lash.sessions.ingress import CommandWork, QueuedItem, UserInput
from lash.sessions.model import TurnInput


def item_kind(item: QueuedItem) -> str:
    """What sort of item it is: `input`, `wake`, or the command's name."""
    match item.payload:
        case CommandWork(command=command):
            return str(command.__struct_config__.tag)
        case UserInput() | None:
            return "input"
        case _:
            return "wake"


def item_text(item: QueuedItem) -> str:
    """What an item of user input says."""
    return said_text(item.payload.input) if isinstance(item.payload, UserInput) else ""


def said_text(turn_input: TurnInput) -> str:
    """What a user says as text alone: attachments are named."""
    return "\n".join(
        piece if isinstance(piece, str) else named_attachment(piece) for piece in turn_input.pieces
    )


def enters_text(item: QueuedItem) -> str:
    """Where an item will enter, as it stands now."""
    if item.state == "pending_active":
        return f"turn {item.turn_id}" if item.turn_id else "the turn that runs"
    return "the next turn"


def queued_json(item: QueuedItem) -> dict[str, object]:
    """An item as JSON commands tell it."""
    return {
        "item_id": item.item_id,
        "kind": item_kind(item),
        "text": item_text(item),
        "state": item.state,
        "ingress": item.ingress,
        "turn_id": item.turn_id,
        "source_key": item.source_key,
        "enqueued_at_ms": item.enqueued_at_ms,
        "available_at_ms": item.available_at_ms,
    }
