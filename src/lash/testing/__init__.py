"""For your own tests: a scripted model, a virtual clock, a crash on demand, a store conformance suite.

The local server that speaks a provider's wire format is `lash.testing.openai_server`.
"""

from lash.testing.clock import VirtualClock
from lash.testing.crash import KillAt
from lash.testing.scripted import Failure, Reply, ScriptedModel, calls, fail, reply

__all__ = ["Failure", "KillAt", "Reply", "ScriptedModel", "VirtualClock", "calls", "fail", "reply"]
