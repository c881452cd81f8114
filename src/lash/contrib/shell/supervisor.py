"""Run as a program of its own: runs one command, and leaves nothing of it behind.

It stands between lash and the command. What the command forks, daemons too, becomes its child when its
parent dies (on Linux), so it can end all of it: when it is told to, when the command has ended, and when
lash is gone, which it learns from its standard input coming to an end. It imports nothing of lash.

Given on standard input: one line of JSON, then `T` to ask the command to end and, after a grace, make it;
the end of the input makes it at once. Told on the descriptor that is its argument, as lines of JSON: `{"pid": …}` or
`{"error": …}`, then `{"exit": …, "left": …}`. Standard output is the command's, pipe or terminal.
"""

# It is started for every command, and pathlib takes longer to import than the rest of it.
# ruff: noqa: PTH112, PTH123, PTH208

import errno
import json
import os
import select
import signal
import sys
import time

#: How long a command that was asked to end is given, in seconds.
GRACE_S = 0.5

#: How long it is tried to kill what is left, in seconds.
KILL_S = 2.0


def adopt_orphans() -> bool:
    """Become the parent of what the command leaves behind; whether it can be done."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    set_child_subreaper = 36
    return bool(ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0) == 0)


def tell(status: int, **said: object) -> None:
    """Say something to lash, if it is still there."""
    try:
        os.write(status, json.dumps(said).encode() + b"\n")
    except OSError:
        pass


def start(asked: "dict[str, object]") -> int:
    """Fork, and become the command. Gives its process id, or raises what kept it from being run."""
    refused, refuse = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(asked)
        except BaseException as error:  # noqa: BLE001  this is a fork, which must end here in any case
            why = f"{getattr(error, 'strerror', None) or error}"
            os.write(refuse, why.encode("utf-8", "replace")[:1000] or b"?")
        finally:
            os._exit(127)
    os.close(refuse)
    why = os.read(refused, 4096).decode("utf-8", "replace")
    os.close(refused)
    if why:
        os.waitpid(pid, 0)
        raise OSError(errno.ENOEXEC, why)
    return pid


def become(asked: "dict[str, object]") -> None:
    """In the fork: turn into the command."""
    os.setsid()
    if asked["terminal"]:
        import fcntl
        import termios

        fcntl.ioctl(1, termios.TIOCSCTTY, 0)
        os.dup2(1, 0)
    else:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(1, 2)
    # Python ignores some signals, and what is ignored stays so in the command.
    for name in ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir(str(asked["folder"]))
    command = [str(each) for each in asked["command"]]  # type: ignore[attr-defined]  # a list, by its maker
    os.execve(command[0], command, asked["env"])  # type: ignore[arg-type]  # noqa: S606  a mapping of text


# --- ending ---------------------------------------------------------------------------------------------


def below() -> "list[int]":
    """Every process that comes from this one, parents first, as far as the system tells."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    after = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if after[0] != b"Z":
                children.setdefault(int(after[1]), []).append(int(name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def send(pids: "list[int]", number: int) -> None:
    """Send a signal to processes, as far as they are there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def send_group(pid: int, number: int) -> None:
    """Send a signal to a process group, as far as it is there."""
    try:
        os.killpg(pid, number)
    except OSError:
        pass


class Command:
    """The command, and what became of it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.gone = False

    def reap(self) -> None:
        """Take note of whatever has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.gone = True
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)

    def ask(self) -> None:
        """Ask all of it to end."""
        send_group(self.pid, signal.SIGTERM)
        send(below(), signal.SIGTERM)

    def kill(self) -> int:
        """Make all of it end; how many processes would not."""
        until = time.monotonic() + KILL_S
        # Once the command was reaped and nothing of it is left, its group's number may be another's.
        if self.status is None or not sys.platform.startswith("linux"):
            send_group(self.pid, signal.SIGKILL)
        while True:
            left = below()
            send(left, signal.SIGSTOP)  # what forks faster than it is killed is held first
            left = below()
            send(left, signal.SIGKILL)
            self.reap()
            if self.gone or (self.status is not None and not left) or time.monotonic() > until:
                return len(below())
            time.sleep(0.002)


def supervise(command: Command, woken: int, asked: bytes) -> None:
    """Wait until the command has ended, is to end, or lash is gone."""
    until: float | None = None
    if asked:
        command.ask()
        until = time.monotonic() + GRACE_S
    while command.status is None:
        left = None if until is None else max(0.0, until - time.monotonic())
        ready, _, _ = select.select([0, woken], [], [], left)
        if woken in ready:
            os.read(woken, 4096)
            command.reap()
        if 0 in ready:
            if not os.read(0, 4096):
                return
            if until is None:
                command.ask()
                until = time.monotonic() + GRACE_S
        if until is not None and time.monotonic() >= until:
            return


def main() -> None:
    """Run the command that is asked for, and end with it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    status, line = int(sys.argv[1]), b""
    os.set_inheritable(status, False)  # a command is not to speak for its supervisor
    while b"\n" not in line:
        part = os.read(0, 65536)
        if not part:
            return
        line += part
    line, _, rest = line.partition(b"\n")
    adopt_orphans()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        command = Command(start(json.loads(line)))
    except (OSError, ValueError, TypeError) as error:
        tell(status, error=f"{getattr(error, 'strerror', None) or error}")
        return
    # From here on only the command holds its output, so that its end is seen.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    tell(status, pid=command.pid)
    supervise(command, woken, rest)
    left = command.kill()
    tell(status, exit=command.status, left=left)


if __name__ == "__main__":
    main()
