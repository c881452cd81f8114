"""How a process ends, and who may say so without running it (process spec 1.9)."""

from typing import Literal, TypeAlias, get_args

from lash.core.json import Data, JsonValue
from lash.core.leases import LeaseOwner

ProcessFailureClass: TypeAlias = Literal[
    "invalid_request",
    "unavailable",
    "permission_denied",
    "timeout",
    "execution",
    "external",
    "resource_limit",
    "internal",
]

FAILURE_CLASSES: frozenset[str] = frozenset(get_args(ProcessFailureClass))


class ProcessSuccess(Data, tag_field="type", tag="success"):
    """It did what it was for. `control` is what a tool that ran as a process asks of its turn."""

    value: JsonValue = None
    control: JsonValue = None


class ProcessFailure(Data, tag_field="type", tag="failure"):
    """It failed. `failure_class` says what sort of failure it is, `code` which one."""

    failure_class: ProcessFailureClass
    code: str
    message: str
    raw: JsonValue = None
    control: JsonValue = None


class ProcessCancelled(Data, tag_field="type", tag="cancelled"):
    """It was asked to stop, and did."""

    message: str
    raw: JsonValue = None
    control: JsonValue = None


#: Who gives processes up: their owner when it shuts down, recovery, a request of somebody's, or
#: recovery after too many attempts.
AbandonWriter: TypeAlias = Literal["owner_drain", "sweep", "reconciled_request", "engine_gave_up"]


class AbandonEvidence(Data):
    """Who gave a process up, when, and who had begun it."""

    writer: AbandonWriter
    epoch_ms: int
    owner: LeaseOwner | None = None


class ProcessAbandoned(Data, tag_field="type", tag="abandoned"):
    """It was given up: nobody knows how far it got. Not a failure of its own, and no answer to a cancel."""

    evidence: AbandonEvidence
    control: JsonValue = None


class NoLongerRetained(Data, tag_field="type", tag="no_longer_retained"):
    """It ended, and was pruned since. Only observed, never stored."""

    terminal_status: str
    pruned_at_ms: int


ProcessAwaitOutput: TypeAlias = (
    ProcessSuccess | ProcessFailure | ProcessCancelled | ProcessAbandoned
)

ObservedOutput: TypeAlias = ProcessAwaitOutput | NoLongerRetained


class ExternalOwner(Data, tag_field="authority", tag="external_owner"):
    """Whoever does the work elsewhere. For `externally_owned` processes."""

    granted_to: str | None = None


class WorkflowKey(Data, tag_field="authority", tag="workflow_key"):
    """An engine outside that runs the process itself and writes only once."""

    workflow_key: str


class ReconciledAbandon(Data, tag_field="authority", tag="reconciled_abandon"):
    """Recovery, for an `externally_owned` process that was given up. Only for `abandoned`."""


CompletionAuthority: TypeAlias = ExternalOwner | WorkflowKey | ReconciledAbandon
