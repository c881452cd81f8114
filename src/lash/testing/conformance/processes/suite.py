"""Every property of processes."""

from lash.testing.conformance.processes.appending import AppendProperties
from lash.testing.conformance.processes.changing import ChangeProperties
from lash.testing.conformance.processes.completing import CompleteProperties
from lash.testing.conformance.processes.delivering import DeliveryProperties
from lash.testing.conformance.processes.ending import CancelProperties, EndingEventProperties
from lash.testing.conformance.processes.giving_up import AbandonProperties, ContinueProperties
from lash.testing.conformance.processes.leasing import ProcessLeaseProperties
from lash.testing.conformance.processes.lifecycle import LifecycleProperties
from lash.testing.conformance.processes.listing import ProcessListProperties, WorklistProperties
from lash.testing.conformance.processes.observers import (
    ObserverProperties,
    ProcessesOfDeletedProperties,
)
from lash.testing.conformance.processes.pruning import ProcessJournalProperties, PruneProperties
from lash.testing.conformance.processes.refolding import RefoldProperties
from lash.testing.conformance.processes.registering import RegisterProperties
from lash.testing.conformance.processes.resting import (
    AttemptProperties,
    RestProperties,
    WaitStateProperties,
)
from lash.testing.conformance.processes.signalling import SignalProperties
from lash.testing.conformance.processes.waking import WakeProperties


class ProcessStoreProperties(
    RegisterProperties,
    AppendProperties,
    EndingEventProperties,
    CancelProperties,
    SignalProperties,
    LifecycleProperties,
    WaitStateProperties,
    RestProperties,
    AttemptProperties,
    ProcessLeaseProperties,
    CompleteProperties,
    AbandonProperties,
    ContinueProperties,
    ObserverProperties,
    ProcessesOfDeletedProperties,
    WakeProperties,
    DeliveryProperties,
    ChangeProperties,
    ProcessListProperties,
    WorklistProperties,
    PruneProperties,
    ProcessJournalProperties,
    RefoldProperties,
):
    """What a store must do with processes; part of `StoreConformance`."""
