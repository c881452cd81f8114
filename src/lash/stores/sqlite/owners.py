"""Proof of death on one machine: each owner holds an OS file lock as long as it lives (D4).

Whoever can take an owner's lock has proof that its process is gone; the kernel lets go of a lock the
moment its holder dies, so work resumes at once and not after a lease's ttl. A stopped process keeps
its lock: it may wake up, and only the ttl counts.
"""

import errno
import os
import socket
from pathlib import Path
from typing import IO
from weakref import WeakSet

from lash.core.leases import LeaseOwner

try:
    import fcntl

    _LOCKS = True
except ImportError:  # no advisory locks on this platform: only the ttl counts
    _LOCKS = False

#: What the names of the locks end with.
_SUFFIX = ".lock"

#: Each attempt that fails means that somebody left at this very moment; so many do not in a row.
_ATTEMPTS = 100


class OwnerLocks:
    """The locks of a database, in a directory beside it."""

    def __init__(self, database: Path) -> None:
        self._directory = database.with_name(database.name + ".owners")
        self._host = socket.gethostname()
        self._held: dict[str, IO[bytes]] = {}
        self._dead: set[str] = set()
        _everyone.add(self)

    def hold(self, owner_id: str, incarnation: str) -> LeaseOwner:
        """Take a new owner's lock, for as long as this process lives or until `release`."""
        if _LOCKS:
            self._held[incarnation] = self._create(incarnation)
        return LeaseOwner(owner_id=owner_id, incarnation=incarnation, host=self._host)

    def living(self) -> frozenset[str]:
        """The incarnations that live on this host."""
        if not _LOCKS:
            return frozenset()
        try:
            files = [path for path in self._directory.iterdir() if path.suffix == _SUFFIX]
        except OSError:
            return frozenset(self._held)  # nobody else has ever been here, or all have left
        return frozenset(self._held) | {
            path.stem for path in files if path.stem not in self._held and not self._is_gone(path)
        }

    def _create(self, incarnation: str) -> IO[bytes]:
        attempts = 0
        while True:
            try:
                self._directory.mkdir(exist_ok=True)
                return self._create_locked(self._file(incarnation))
            except (FileExistsError, FileNotFoundError):
                # Another process left just now and took the empty directory with it.
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise

    def _create_locked(self, path: Path) -> IO[bytes]:
        """Make a lock's file appear only once it is locked: whoever finds it free has proof of death."""
        if not self._is_gone(path):
            message = f"{path.name} is held already"
            raise BlockingIOError(errno.EWOULDBLOCK, message)
        made = path.with_suffix(".new")
        handle = made.open("wb")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made.replace(path)
        except OSError:
            handle.close()
            raise
        return handle

    def is_dead(self, owner: LeaseOwner) -> bool:
        """Whether the owner's process is gone for certain."""
        if not _LOCKS or owner.host != self._host or owner.incarnation in self._held:
            return False
        if owner.incarnation in self._dead:
            return True  # an incarnation does not come back
        dead = self._is_gone(self._file(owner.incarnation))
        if dead:
            self._dead.add(owner.incarnation)
        return dead

    @staticmethod
    def _is_gone(path: Path) -> bool:
        try:
            handle = path.open("rb")
        except FileNotFoundError:
            return True  # an owner removes its file only when it has let go of everything
        except OSError:
            return False
        with handle:
            try:
                # Shared, so that two who look at the same moment both have their proof.
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return False
            path.unlink(missing_ok=True)
            return True

    def release(self) -> None:
        """Let go of every lock of this process."""
        while self._held:
            incarnation, handle = self._held.popitem()
            self._file(incarnation).unlink(missing_ok=True)
            handle.close()
        try:
            self._directory.rmdir()
        except OSError:
            pass  # others live in it, or it is not there

    def forget(self) -> None:
        """Leave the locks to the process that this one was forked from.

        A lock is held until the last process that has its file open is gone: a child that lives on
        would hide the death of its parent.
        """
        for handle in self._held.values():
            handle.close()
        self._held.clear()

    def _file(self, incarnation: str) -> Path:
        return self._directory / f"{incarnation}{_SUFFIX}"


_everyone: "WeakSet[OwnerLocks]" = WeakSet()


def _forget_all() -> None:
    for locks in _everyone:
        locks.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
