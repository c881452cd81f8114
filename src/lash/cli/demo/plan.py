"""Where the demo's first process is killed."""

from collections.abc import Mapping

from lash.core.json import Data
from lash.core.seams import Seam

#: What has just happened when a seam is passed, for people.
MEANING: Mapping[Seam, str] = {
    "accept.after": "after the prompt was accepted, before anything ran",
    "model.before": "before a model call",
    "model.after": "after a model answered, before the answer was recorded",
    "tool.before": "before a tool ran",
    "tool.after": "after a tool ran, before its result was recorded",
    "record.before": "before an outcome was recorded",
    "record.inside": "inside the transaction that records an outcome",
    "record.after": "after an outcome was recorded",
    "commit.before": "before the turn was committed",
    "commit.inside": "inside the transaction that commits the turn",
    "commit.after": "after the turn was committed",
}


class KillPoint(Data):
    """The nth time a seam is passed.

    By default the answer of the second model call, which had followed two recorded tools, is lost.
    """

    seam: Seam = "model.after"
    nth: int = 2

    def __str__(self) -> str:
        return f"{self.seam}:{self.nth}"
