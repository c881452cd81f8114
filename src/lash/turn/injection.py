"""Turning what a checkpoint delivers into messages of the turn (turns spec 1.5)."""

from collections.abc import Collection

import msgspec

from lash.core.errors import LashError
from lash.turn.exchange import CheckpointDelivery, TurnCause
from lash.turn.messages import Message, Part, PluginOrigin, text_message

_DEFAULT_PLUGIN = "plugin"


def delivered_messages(
    delivery: CheckpointDelivery, present: Collection[str]
) -> tuple[Message, ...]:
    """The messages to append, in order: user input, plugin messages, transient ones, causes.

    A message that is kept and whose id is in `present` is skipped: it was delivered before. So is
    one whose id the delivery holds twice. Transient messages may come again as often as they like.

    Args:
        delivery: What arrived.
        present: The ids of the transcript's messages that are kept.

    Raises:
        LashError: `plugin_message_role` for a plugin message that is neither user's nor system's.
    """
    arrived = (
        *delivery.committed_user_messages,
        *(_plugin_message(message, transient=False) for message in delivery.messages),
        *(_plugin_message(message, transient=True) for message in delivery.transient_messages),
        *(cause_message(cause) for cause in delivery.turn_causes),
    )
    seen = set(present)
    fresh: list[Message] = []
    for message in arrived:
        if not message.transient:
            if message.id in seen:
                continue
            seen.add(message.id)
        fresh.append(message)
    return tuple(fresh)


def cause_message(cause: TurnCause) -> Message:
    """A cause as an event message; its id is the cause's, so it is delivered once.

    It states facts: that a process woke the session, which one, with which event, and what it said.
    """
    head = cause.event_type
    if cause.origin:
        head = f"Background process wake\nProcess: {cause.origin}\nEvent: {cause.event_type}"
    return text_message(cause.id, "event", f"{head}\n{cause.text}")


def _plugin_message(message: Message, *, transient: bool) -> Message:
    if message.role not in {"user", "system"}:
        raise LashError(
            "plugin_message_role",
            f"A plugin may inject user and system messages, not {message.role} ones.",
            message_id=message.id,
        )
    origin = message.origin or PluginOrigin(plugin_id=_DEFAULT_PLUGIN, transient=transient)
    if isinstance(origin, PluginOrigin) and origin.transient != transient:
        origin = PluginOrigin(plugin_id=origin.plugin_id, transient=transient)
    parts = message.parts or (Part(id="", kind="text", content=""),)
    renamed = (
        msgspec.structs.replace(part, id=f"{message.id}.p{index}")
        for index, part in enumerate(parts)
    )
    return Message(id=message.id, role=message.role, parts=tuple(renamed), origin=origin)
