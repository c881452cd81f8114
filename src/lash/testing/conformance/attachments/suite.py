"""Every property of a store's attachments."""

from lash.testing.conformance.attachments.awaiting import AwaitedProperties
from lash.testing.conformance.attachments.fencing import FenceProperties
from lash.testing.conformance.attachments.referring import (
    CommitRefProperties,
    OwnerProperties,
    ReferenceProperties,
)
from lash.testing.conformance.attachments.sweeping import (
    ReclaimProperties,
    SessionAttachmentProperties,
)


class AttachmentStoreProperties(
    ReferenceProperties,
    OwnerProperties,
    CommitRefProperties,
    FenceProperties,
    ReclaimProperties,
    SessionAttachmentProperties,
    AwaitedProperties,
):
    """What a store must do with attachments; part of `StoreConformance`."""
