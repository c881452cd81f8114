"""What a cold process is told to do, and the command line of the worker that does it."""

import sys
from collections.abc import Mapping
from typing import Literal, TypeAlias

from lash.core.json import Data, encode
from lash.core.scopes import ExecutionScope
from lash.effects.waits.model import AwaitEventKey, AwaitEventWaitIdentity, Resolution


class MintAndPark(Data):
    """Mint the key of a wait, tell it, and wait for it as an effect of its scope."""

    scope: ExecutionScope
    wait: AwaitEventWaitIdentity


class Resolve(Data):
    """Resolve a promise and tell the answer."""

    key: AwaitEventKey
    resolution: Resolution


class Await(Data):
    """Wait for a promise and tell how it ended."""

    key: AwaitEventKey


class ExecuteAndHang(Data):
    """Execute a step that writes a line to a ledger, and hang `before` or `after` it is recorded."""

    scope: ExecutionScope
    ledger: str
    value: str
    hang: Literal["before", "after"]


class Replay(Data):
    """Ask for that step again, with nothing that could perform it, and tell its outcome."""

    scope: ExecutionScope


Part: TypeAlias = MintAndPark | Resolve | Await | ExecuteAndHang | Replay

#: Every role by name, with what it is told.
ROLES: Mapping[str, type[Part]] = {
    "mint-and-park": MintAndPark,
    "resolve": Resolve,
    "await": Await,
    "execute-and-hang": ExecuteAndHang,
    "replay": Replay,
}


def role_of(part: Part) -> str:
    """The name of the role that a part belongs to."""
    return next(name for name, kind in ROLES.items() if isinstance(part, kind))


def argument_of(part: Part) -> str:
    """A part as the JSON that a command line takes."""
    return encode(part).decode()


def worker_command(factory: str, substrate: str, role: str, argument: str) -> list[str]:
    """The command line of `lash.testing.conformance.cold`, to be given as a `cold_command`.

    Args:
        factory: Opens a host: `module:function`, or `path/to/file.py:function`.
        substrate: What the function is called with.
        role: As `cold_command` was given it.
        argument: As `cold_command` was given it.
    """
    module = "lash.testing.conformance.cold"
    return [sys.executable, "-m", module, factory, substrate, role, argument]
