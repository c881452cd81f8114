"""What happens in a turn, in words for whoever waits for it."""

from collections.abc import Mapping

from lash.events import (
    ModelRequestStarted,
    RetryScheduled,
    ToolCallCompleted,
    ToolCallDeferred,
    ToolCallStarted,
    TurnCancelRequested,
    TurnEvent,
    TurnParked,
)

_PLAIN: Mapping[type[object], str] = {
    ModelRequestStarted: "The model is asked.",
    TurnCancelRequested: "It was asked to stop.",
    TurnParked: "It cannot go on by itself.",
}


def told(event: TurnEvent) -> str | None:
    """The event in words; None for what is too small to be told."""
    match event:
        case RetryScheduled(wait_ms=wait_ms, reason=reason):
            return (
                f"The model did not answer ({reason}); it is asked again in {wait_ms / 1000:g} s."
            )
        case ToolCallStarted(tool=tool):
            return f"Tool {tool} runs."
        case ToolCallCompleted(call=call):
            return f"Tool {call.tool} has answered."
        case ToolCallDeferred(tool=tool):
            return f"Tool {tool} waits for an answer from outside."
        case _:
            return _PLAIN.get(type(event))
