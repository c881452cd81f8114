"""What a runtime is given from outside: time, identity, and who watches its seams."""

from dataclasses import dataclass, field

from lash.core.clock import Clock, IdSource, SystemIds
from lash.core.leases import LeaseTimings
from lash.core.seams import SeamObserver, unobserved
from lash.effects.transitions import DriftPolicy


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything about the surroundings of a runtime that a test may want to replace."""

    clock: Clock
    ids: IdSource = field(default_factory=SystemIds)
    timings: LeaseTimings = field(default_factory=LeaseTimings)
    on_drift: DriftPolicy = "accept"
    seams: SeamObserver = unobserved
