"""lash: a Python runtime for durable LLM agents.

The runtime is the durable half; the model is the variable call.
"""

from lash import events
from lash.app.agent import Agent
from lash.app.completions import Completions
from lash.app.live import LiveTurn
from lash.app.live_view import LiveView
from lash.app.model import Model
from lash.app.process_handle import ProcessHandle
from lash.app.queued import QueuedInput
from lash.app.results import HistoryMessage, TurnResult, TypedTurnResult
from lash.app.runtime import Runtime
from lash.app.session import ParkedSession, Session
from lash.app.session_processes import SessionProcesses
from lash.app.session_tools import SessionTool, SessionTools
from lash.app.stopping import CancelReceipt
from lash.attachments.model import (
    Attachment,
    AttachmentRef,
    ExternalUrlSource,
    InlineSource,
    ProviderFileSource,
    ProviderScope,
    StoredSource,
)
from lash.attachments.policy import AttachmentPolicy
from lash.contrib.subagents import subagents
from lash.core.errors import (
    ConfigurationError,
    ConflictError,
    DirectError,
    LashError,
    LeaseLostError,
    ProcessCancelledError,
    ProcessError,
    ReplayError,
    SessionBusyError,
    StepError,
    StoreError,
    WaitError,
)
from lash.core.leases import LeaseTimings
from lash.effects.outcomes import PendingCompletion
from lash.effects.trigger_commands import TriggerEmission
from lash.effects.waits.model import AwaitEventKey
from lash.llm.dialects import SchemaDialects
from lash.llm.direct import DirectResult
from lash.llm.retry import RetryPolicy
from lash.llm.schema_projection import SchemaOverride, SchemaProjection
from lash.llm.usage import Usage
from lash.plugins.plugin import Plugin
from lash.runtime.attachment_reclaim import ReclaimReport
from lash.runtime.operations import Operation
from lash.runtime.plugins.installed import installed_plugins
from lash.runtime.processes.child import ChildProcess, TurnAnswer
from lash.runtime.processes.context import ProcessContext
from lash.runtime.processes.function import ProcessFunction, process
from lash.runtime.replaying import ReplayReport
from lash.runtime.steps import StepRetry
from lash.runtime.triggers.declaring import ReconcileReport, TriggerDeclaration
from lash.runtime.triggers.events import TriggerEvent
from lash.runtime.triggers.reports import EmitReport
from lash.runtime.triggers.targets import SessionPrompt, from_event
from lash.sessions.deleting import DeleteReport
from lash.sessions.usage import SessionUsageReport, diff_usage_reports
from lash.tools.function import tool
from lash.tools.manifest import ToolGrant, grant_tool
from lash.tools.methods import tools_of
from lash.tools.model import (
    ChildAnswer,
    Fail,
    Finish,
    SwitchFrame,
    ToolContext,
    ToolError,
    ToolRetry,
)
from lash.tools.processes import ProcessRef, ProcessView
from lash.tools.raw import raw_tool
from lash.turn.outcome import Finished, Stopped
from lash.turn.prompt import PromptLayer

__all__ = [
    "Agent",
    "Attachment",
    "AttachmentPolicy",
    "AttachmentRef",
    "AwaitEventKey",
    "CancelReceipt",
    "ChildAnswer",
    "ChildProcess",
    "Completions",
    "ConfigurationError",
    "ConflictError",
    "DeleteReport",
    "DirectError",
    "DirectResult",
    "EmitReport",
    "ExternalUrlSource",
    "Fail",
    "Finish",
    "Finished",
    "HistoryMessage",
    "InlineSource",
    "LashError",
    "LeaseLostError",
    "LeaseTimings",
    "LiveTurn",
    "LiveView",
    "Model",
    "Operation",
    "ParkedSession",
    "PendingCompletion",
    "Plugin",
    "ProcessCancelledError",
    "ProcessContext",
    "ProcessError",
    "ProcessFunction",
    "ProcessHandle",
    "ProcessRef",
    "ProcessView",
    "PromptLayer",
    "ProviderFileSource",
    "ProviderScope",
    "QueuedInput",
    "ReclaimReport",
    "ReconcileReport",
    "ReplayError",
    "ReplayReport",
    "RetryPolicy",
    "Runtime",
    "SchemaDialects",
    "SchemaOverride",
    "SchemaProjection",
    "Session",
    "SessionBusyError",
    "SessionProcesses",
    "SessionPrompt",
    "SessionTool",
    "SessionTools",
    "SessionUsageReport",
    "StepError",
    "StepRetry",
    "Stopped",
    "StoreError",
    "StoredSource",
    "SwitchFrame",
    "ToolContext",
    "ToolError",
    "ToolGrant",
    "ToolRetry",
    "TriggerDeclaration",
    "TriggerEmission",
    "TriggerEvent",
    "TurnAnswer",
    "TurnResult",
    "TypedTurnResult",
    "Usage",
    "WaitError",
    "diff_usage_reports",
    "events",
    "from_event",
    "grant_tool",
    "installed_plugins",
    "process",
    "raw_tool",
    "subagents",
    "tool",
    "tools_of",
]
