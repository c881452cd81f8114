"""What a runtime is given from outside: time, identity, models, and who watches."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lash.attachments.policy import AttachmentPolicy
from lash.core.clock import Clock, IdSource, SystemIds
from lash.core.errors import ConfigurationError
from lash.core.leases import LeaseTimings
from lash.core.seams import SeamObserver, unobserved
from lash.effects.hosts import EffectHost
from lash.effects.transitions import DriftPolicy
from lash.runtime.direct import BoundModel
from lash.runtime.events import (
    ProcessFaultEvent,
    ProcessParkedEvent,
    TriggerDeliveryFailed,
    TurnParked,
    TurnRestarted,
)
from lash.runtime.processes.engines import ProcessEngine
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.processes.worker import CONCURRENCY
from lash.runtime.triggers.events import TriggerEvent

_log = logging.getLogger("lash.runtime")

RuntimeEvent: TypeAlias = (
    TurnParked | TurnRestarted | ProcessParkedEvent | ProcessFaultEvent | TriggerDeliveryFailed
)
OnEvent: TypeAlias = Callable[[RuntimeEvent], None]


def unheard(event: RuntimeEvent) -> None:
    """The observer of those who gave none: what a person has to know is in the store and the log."""
    del event


def _no_models(model: object) -> BoundModel:
    raise ConfigurationError("model_invalid", f"{model!r} cannot be resolved here.")


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything about the surroundings of a runtime that a test may want to replace.

    Attributes:
        clock: Where time comes from.
        ids: Where ids come from that cannot be derived.
        timings: How long a session's lease lasts.
        on_drift: What to do when surroundings changed under a recorded effect.
        seams: Told where a crash would be interesting.
        host: Where effects are kept, if not in the store.
        process_lifetime_keys: Let tools hand out keys that die with the process.
        resolve_model: Finds the model that a caller names.
        on_event: Told what a person has to know of.
        processes: The process functions that can be run here.
        process_concurrency: How many processes run at once; what waits does not count.
        run_processes: Whether processes are run here at all.
        process_engines: Engines of the host's own.
        triggers: The events that may occur here.
        attachment_policy: What may become an attachment.
    """

    clock: Clock
    ids: IdSource = field(default_factory=SystemIds)
    timings: LeaseTimings = field(default_factory=LeaseTimings)
    on_drift: DriftPolicy = "accept"
    seams: SeamObserver = unobserved
    host: EffectHost | None = None
    process_lifetime_keys: bool = False
    resolve_model: Callable[[object], BoundModel] = _no_models
    on_event: OnEvent = unheard
    processes: Sequence[ProcessFunction[..., Any]] = ()
    process_concurrency: int = CONCURRENCY
    run_processes: bool = True
    process_engines: Sequence[ProcessEngine] = ()
    triggers: Sequence[TriggerEvent] = ()
    attachment_policy: AttachmentPolicy = AttachmentPolicy()  # noqa: RUF009  a value

    def tell(self, event: RuntimeEvent) -> None:
        """Tell the observer; what it raises is logged and changes nothing."""
        try:
            self.on_event(event)
        except Exception:  # noqa: BLE001  an observer must not change what it observes
            _log.exception("the runtime's on_event failed")
