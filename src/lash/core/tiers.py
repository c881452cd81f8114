"""How much survives: what a store promises to keep when the process dies."""

from typing import Literal, TypeAlias

#: `ephemeral` dies with the process; `durable` survives it.
DurabilityTier: TypeAlias = Literal["ephemeral", "durable"]
