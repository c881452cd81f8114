"""What a cancelled turn still owes its transcript: an answer to each tool call (turns spec 8.2). Pure."""

from collections.abc import Sequence
from itertools import takewhile

from lash.turn.driver import AppendEvents, DriverAction, EmitAction
from lash.turn.messages import Message, Part
from lash.turn.tools import (
    CompletedToolCall,
    PendingToolCall,
    ToolCancellation,
    ToolCancelled,
    ToolOutput,
    model_text,
)

#: What stands in for the output of a call that was cancelled before it had one.
CANCELLED_OUTPUT = ToolOutput(
    outcome=ToolCancelled(payload=ToolCancellation(message="tool call cancelled"))
)


def cancelled_call(call: PendingToolCall) -> CompletedToolCall:
    """A call answered with the news that it was cancelled."""
    return CompletedToolCall(
        call_id=call.call_id,
        tool_name=call.tool_name,
        args=call.args,
        output=CANCELLED_OUTPUT,
        model_text=model_text(CANCELLED_OUTPUT),
    )


def answering_actions(actions: Sequence[DriverAction]) -> Sequence[DriverAction]:
    """Of what a driver wants after tool results, what it says and keeps before the turn moves on."""
    return tuple(takewhile(lambda action: isinstance(action, EmitAction | AppendEvents), actions))


def open_calls(messages: Sequence[Message]) -> Sequence[Part]:
    """The tool calls of a transcript that nothing answers yet, in the order they were made."""
    waiting: dict[str | None, Part] = {}
    for message in messages:
        for part in message.parts:
            if part.kind == "tool_call":
                waiting[part.tool_call_id] = part
            elif part.kind == "tool_result":
                waiting.pop(part.tool_call_id, None)
    return tuple(waiting.values())


def closing_message(message_id: str, calls: Sequence[Part]) -> Message:
    """A message that answers each of the calls with the news that it was cancelled."""
    parts = tuple(
        Part(
            id=f"{message_id}.p{index}",
            kind="tool_result",
            content=model_text(CANCELLED_OUTPUT),
            tool_call_id=call.tool_call_id,
            tool_name=call.tool_name,
        )
        for index, call in enumerate(calls)
    )
    return Message(id=message_id, role="user", parts=parts)
