"""The way in: parse the arguments, run one command, turn trouble into a message and an exit code."""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from lash.cli.arguments import build_parser
from lash.cli.exit_codes import ExitCode
from lash.core.errors import ConfigurationError, LashError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `lash` command and return its exit code.

    Args:
        argv: The arguments; those of the process if not given.
    """
    _replace_what_cannot_be_shown()
    _log_in_single_lines()
    try:
        code = _execute(build_parser().parse_args(argv))
        sys.stdout.flush()
        return code
    except SystemExit as ending:  # of argparse, and of rich when the reader of a pipe has left
        return ending.code if isinstance(ending.code, int) else ExitCode.USAGE
    except LashError as error:
        sys.stderr.write(f"lash: {error}\n")
        return ExitCode.USAGE if isinstance(error, ConfigurationError) else ExitCode.FAILED
    except OSError as error:  # the store's are StoreErrors: this is our own output
        return _unwritable(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _unwritable(error: OSError) -> int:
    """Say that the output could not be written, where that can still be said."""
    try:
        sys.stderr.write(f"lash: the output could not be written: {error.strerror or error}\n")
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  the interpreter flushes it at exit
    except OSError:
        pass
    return ExitCode.FAILED


def _execute(options: Namespace) -> int:  # noqa: PLR0911  one for each command
    # Imported one by one, so that `lash --help` does not wait for what it does not need.
    match options.command:
        case "demo":
            from lash.cli.demo.command import demo

            return demo(options.kill_at, keep=options.keep, as_json=options.json)
        case "run":
            from lash.cli.run import RunRequest, run

            request = RunRequest(
                prompt=options.prompt,
                db=options.db,
                session_id=options.session,
                model=options.model,
                tools=tuple(options.tools),
                instructions=options.instructions,
                attempts=options.attempts,
                as_json=options.json,
            )
            return run(request)
        case "sessions":
            from lash.cli.sessions import sessions

            return sessions(options.db, as_json=options.json)
        case "journal":
            from lash.cli.journal import journal

            return journal(options.session, options.turn, options.db, as_json=options.json)
        case "replay":
            from lash.cli.replay import replay

            return replay(
                options.session, options.turn, options.app, options.db, as_json=options.json
            )
        case "resolve":
            from lash.cli.resolve import ResolveRequest, resolve

            answer = ResolveRequest(
                key=options.key,
                db=options.db,
                value=options.value,
                error=options.error,
                code=options.code,
                cancel=options.cancel,
                as_json=options.json,
            )
            return resolve(answer)
        case _:
            from lash.cli.show import show

            return show(options.session, options.db, as_json=options.json)


def _replace_what_cannot_be_shown() -> None:
    """A terminal that knows no umlauts gets question marks, not an error."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stand-in stream may have none
        if reconfigure is not None:
            reconfigure(errors="replace")


class _SingleLine(logging.Handler):
    """Tells what happened and what was raised, but not where: a terminal is no log file."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to stderr."""
        error = record.exc_info[1] if record.exc_info else None
        raised = f" ({type(error).__name__}: {error})" if error is not None else ""
        sys.stderr.write(f"lash: {record.getMessage()}{raised}\n")


def _log_in_single_lines() -> None:
    logger = logging.getLogger("lash")
    if not logger.handlers:
        logger.addHandler(_SingleLine(logging.WARNING))
