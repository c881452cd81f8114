"""What `session.stream(…)` yields. See `lash.runtime.events` for what each of them means."""

from lash.runtime.events import (
    ModelAttemptReset,
    ModelRequestStarted,
    ReasoningDelta,
    RetryScheduled,
    TextDelta,
    ToolCallCompleted,
    ToolCallDeferred,
    ToolCallStarted,
    TurnEvent,
    TurnParked,
    TurnRestarted,
    UsageReported,
)

__all__ = [
    "ModelAttemptReset",
    "ModelRequestStarted",
    "ReasoningDelta",
    "RetryScheduled",
    "TextDelta",
    "ToolCallCompleted",
    "ToolCallDeferred",
    "ToolCallStarted",
    "TurnEvent",
    "TurnParked",
    "TurnRestarted",
    "UsageReported",
]
