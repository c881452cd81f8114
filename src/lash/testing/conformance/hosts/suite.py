"""The whole suite of effect hosts."""

from lash.testing.conformance.hosts.dying import ColdProcessProperties
from lash.testing.conformance.hosts.ending import EndingProperties
from lash.testing.conformance.hosts.forging import ForgeryProperties
from lash.testing.conformance.hosts.hosting import S
from lash.testing.conformance.hosts.meeting import MeetingProperties
from lash.testing.conformance.hosts.promising import PromiseProperties, SteeringProperties
from lash.testing.conformance.hosts.recording import RecordingProperties
from lash.testing.conformance.hosts.replaying import ReplayProperties
from lash.testing.conformance.hosts.resting import SleepProperties, WaitEffectProperties
from lash.testing.conformance.hosts.scoping import ScopeProperties


class EffectHostConformance(
    ScopeProperties[S],
    PromiseProperties[S],
    SteeringProperties[S],
    EndingProperties[S],
    ForgeryProperties[S],
    MeetingProperties[S],
    ReplayProperties[S],
    RecordingProperties[S],
    SleepProperties[S],
    WaitEffectProperties[S],
    ColdProcessProperties[S],
):
    """Every property of an effect host. See the package for how to run it on yours."""
