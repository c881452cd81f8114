"""Plugins: what they may contribute, where they are asked, and what they may answer.

from lash.plugins import Deny, Plugin
"""

from lash.plugins.contexts import (
    CheckpointHook,
    HistoryEntry,
    HistoryHook,
    OperationSession,
    PluginSession,
    ToolCallHook,
    TurnEnded,
    TurnHook,
)
from lash.plugins.directives import (
    Abort,
    Answer,
    Compact,
    Deny,
    Hold,
    ReplaceArgs,
    Say,
    ShowFrom,
)
from lash.plugins.operations import Operation, command, query, task
from lash.plugins.plugin import Plugin, PluginHost

__all__ = [
    "Abort",
    "Answer",
    "CheckpointHook",
    "Compact",
    "Deny",
    "HistoryEntry",
    "HistoryHook",
    "Hold",
    "Operation",
    "OperationSession",
    "Plugin",
    "PluginHost",
    "PluginSession",
    "ReplaceArgs",
    "Say",
    "ShowFrom",
    "ToolCallHook",
    "TurnEnded",
    "TurnHook",
    "command",
    "query",
    "task",
]
