"""Every property of triggers."""

from lash.testing.conformance.triggers.declaring import DeclareProperties
from lash.testing.conformance.triggers.occurring import DeliveryStateProperties, IngestProperties
from lash.testing.conformance.triggers.retaining import TriggerRetentionProperties
from lash.testing.conformance.triggers.subscribing import (
    ReceiptProperties,
    SubscribeProperties,
    SubscriptionListProperties,
)


class TriggerStoreProperties(
    SubscribeProperties,
    ReceiptProperties,
    SubscriptionListProperties,
    DeclareProperties,
    IngestProperties,
    DeliveryStateProperties,
    TriggerRetentionProperties,
):
    """What a store must do with triggers; part of `StoreConformance`."""
