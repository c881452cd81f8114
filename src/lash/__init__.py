"""lash: a Python runtime for durable LLM agents.

The runtime is the durable half; the model is the variable call.
"""

from lash import events
from lash.app.agent import Agent
from lash.app.model import Model
from lash.app.results import HistoryMessage, TurnResult
from lash.app.runtime import Runtime
from lash.app.session import LiveTurn, Session
from lash.core.errors import (
    ConfigurationError,
    ConflictError,
    LashError,
    LeaseLostError,
    ReplayError,
    SessionBusyError,
    StoreError,
)
from lash.core.leases import LeaseTimings
from lash.llm.retry import RetryPolicy
from lash.llm.usage import Usage
from lash.tools.function import tool
from lash.tools.model import Finish, ToolContext, ToolError, ToolRetry
from lash.turn.outcome import Finished, Stopped
from lash.turn.prompt import PromptLayer

__all__ = [
    "Agent",
    "ConfigurationError",
    "ConflictError",
    "Finish",
    "Finished",
    "HistoryMessage",
    "LashError",
    "LeaseLostError",
    "LeaseTimings",
    "LiveTurn",
    "Model",
    "PromptLayer",
    "ReplayError",
    "RetryPolicy",
    "Runtime",
    "Session",
    "SessionBusyError",
    "Stopped",
    "StoreError",
    "ToolContext",
    "ToolError",
    "ToolRetry",
    "TurnResult",
    "Usage",
    "events",
    "tool",
]
