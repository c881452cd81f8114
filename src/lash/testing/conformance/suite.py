"""The whole suite."""

from lash.testing.conformance.accepting import AcceptProperties
from lash.testing.conformance.committing import CommitProperties
from lash.testing.conformance.journaling import JournalProperties
from lash.testing.conformance.leasing import LeaseProperties
from lash.testing.conformance.listing import ListingProperties
from lash.testing.conformance.refusing import RefusalProperties


class StoreConformance(
    AcceptProperties,
    LeaseProperties,
    CommitProperties,
    RefusalProperties,
    JournalProperties,
    ListingProperties,
):
    """Every property of a store. See the package for how to run it on yours."""
