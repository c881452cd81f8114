"""The words for how a process stands, and by which `--status` picks. Light: the argument parser needs it."""

from typing import Literal, TypeAlias, get_args

#: `running`: a live worker runs it. `waiting`: for a signal, a timer, another process, a turn or an
#: answer. `parked`: for a person, or for its code. `resting`: for its next attempt. `ready`: for a
#: worker. `external`: for whoever does it elsewhere. `stranded`: its worker is gone, and nobody else
#: may run it. The others are how it ended.
State: TypeAlias = Literal[
    "running",
    "waiting",
    "parked",
    "resting",
    "ready",
    "external",
    "stranded",
    "completed",
    "failed",
    "cancelled",
    "abandoned",
]

_Group: TypeAlias = Literal["live", "retired", "any"]

StateFilter: TypeAlias = State | _Group

STATES: tuple[State, ...] = get_args(State)

GROUPS: tuple[_Group, ...] = get_args(_Group)

#: What `--status` takes: what the column shows, and three words for several of them.
STATE_FILTERS: tuple[StateFilter, ...] = (*STATES, *GROUPS)
