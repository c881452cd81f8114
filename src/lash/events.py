"""What `session.stream(…)` and `session.observe()` yield.

`lash.runtime.events` says what the events of a turn mean, `lash.runtime.observed` the items of an
observation.
"""

from lash.runtime.events import (
    ChildUsageReported,
    ModelAttemptReset,
    ModelRequestStarted,
    PluginEmitted,
    QueuedInputAccepted,
    ReasoningDelta,
    RetryScheduled,
    TextDelta,
    ToolCallCompleted,
    ToolCallDeferred,
    ToolCallStarted,
    TurnCancelRequested,
    TurnEvent,
    TurnParked,
    TurnRestarted,
    UsageReported,
)
from lash.runtime.observed import (
    AgentFrameSwitched,
    Committed,
    Event,
    Gap,
    Item,
    ProcessChanged,
    QueueChanged,
    SessionView,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
)

__all__ = [
    "AgentFrameSwitched",
    "ChildUsageReported",
    "Committed",
    "Event",
    "Gap",
    "Item",
    "ModelAttemptReset",
    "ModelRequestStarted",
    "PluginEmitted",
    "ProcessChanged",
    "QueueChanged",
    "QueuedInputAccepted",
    "ReasoningDelta",
    "RetryScheduled",
    "SessionView",
    "Snapshot",
    "TextDelta",
    "ToolCallCompleted",
    "ToolCallDeferred",
    "ToolCallStarted",
    "TurnActivity",
    "TurnCancelRequested",
    "TurnEvent",
    "TurnInterrupted",
    "TurnParked",
    "TurnRestarted",
    "UsageReported",
]
