"""Plugins: what they may contribute, where they are asked, and what they may answer.

from lash.plugins import Deny, Plugin
"""

from lash.plugins.contexts import (
    CheckpointHook,
    OperationSession,
    PluginSession,
    ToolCallHook,
    TurnEnded,
    TurnHook,
)
from lash.plugins.directives import Abort, Answer, Deny, Hold, ReplaceArgs, Say
from lash.plugins.operations import Operation, command, query, task
from lash.plugins.plugin import Plugin, PluginHost

__all__ = [
    "Abort",
    "Answer",
    "CheckpointHook",
    "Deny",
    "Hold",
    "Operation",
    "OperationSession",
    "Plugin",
    "PluginHost",
    "PluginSession",
    "ReplaceArgs",
    "Say",
    "ToolCallHook",
    "TurnEnded",
    "TurnHook",
    "command",
    "query",
    "task",
]
