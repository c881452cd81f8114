"""Asking the plugins of an agent, where turns and tool calls are driven."""
