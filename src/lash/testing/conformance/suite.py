"""The whole suite."""

from lash.testing.conformance.accepting import AcceptProperties
from lash.testing.conformance.attachments.suite import AttachmentStoreProperties
from lash.testing.conformance.committing import CommitProperties
from lash.testing.conformance.composing import ComposeProperties, SettleProperties
from lash.testing.conformance.deleting import DeleteProperties
from lash.testing.conformance.finishing import FinishProperties
from lash.testing.conformance.forking import ForkProperties
from lash.testing.conformance.framing import FrameProperties
from lash.testing.conformance.journaling import JournalProperties
from lash.testing.conformance.leasing import LeaseProperties
from lash.testing.conformance.listing import ListingProperties
from lash.testing.conformance.processes.suite import ProcessStoreProperties
from lash.testing.conformance.queueing import CheckpointProperties, QueueProperties
from lash.testing.conformance.refusing import RefusalProperties
from lash.testing.conformance.restarting import RestartProperties, WaitingTurnProperties
from lash.testing.conformance.retiring import RetireProperties
from lash.testing.conformance.stopping import StopProperties
from lash.testing.conformance.sweeping import SweepProperties
from lash.testing.conformance.triggers.suite import TriggerStoreProperties
from lash.testing.conformance.vacuuming import VacuumProperties
from lash.testing.conformance.waiting import WaitProperties


class StoreConformance(
    AcceptProperties,
    LeaseProperties,
    CommitProperties,
    RefusalProperties,
    RestartProperties,
    WaitingTurnProperties,
    QueueProperties,
    CheckpointProperties,
    ComposeProperties,
    SettleProperties,
    StopProperties,
    FrameProperties,
    ForkProperties,
    DeleteProperties,
    VacuumProperties,
    JournalProperties,
    FinishProperties,
    RetireProperties,
    WaitProperties,
    SweepProperties,
    ListingProperties,
    ProcessStoreProperties,
    TriggerStoreProperties,
    AttachmentStoreProperties,
):
    """Every property of a store. See the package for how to run it on yours."""
