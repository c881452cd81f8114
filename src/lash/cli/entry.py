"""The way in: parse the arguments, run one command, turn trouble into a message and an exit code."""

import logging
import os
import sys
from collections.abc import Sequence

from lash.cli.arguments import UsageError, build_parser
from lash.cli.dispatch import execute
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json_line
from lash.core.errors import ConfigurationError, LashError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `lash` command and return its exit code.

    Args:
        argv: The arguments; those of the process if not given.
    """
    given = sys.argv[1:] if argv is None else argv
    # Known before the arguments are, because they may be what is wrong.
    as_json = "--json" in given
    try:
        _replace_what_cannot_be_shown()
        _log_in_single_lines(as_json=as_json)
        code = execute(build_parser().parse_args(given))
        sys.stdout.flush()
        return code
    except UsageError as error:
        _tell(error.message, "usage_invalid", as_json=as_json, text=str(error))
        return ExitCode.USAGE
    except SystemExit as ending:  # of argparse, and of rich when the reader of a pipe has left
        return ending.code if isinstance(ending.code, int) else ExitCode.USAGE
    except LashError as error:
        _tell(error.message, error.code, as_json=as_json, text=f"lash: {error}\n")
        return ExitCode.USAGE if isinstance(error, ConfigurationError) else ExitCode.FAILED
    except OSError as error:  # the store's are StoreErrors: this is our own output
        return _unwritable(error, as_json=as_json)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _tell(message: str, code: str, *, as_json: bool, text: str) -> None:
    """Say what went wrong on stderr: as one JSON object for those who read JSON."""
    if as_json:
        write_json_line(sys.stderr, {"error": {"code": code, "message": message}})
    else:
        sys.stderr.write(text)


def _unwritable(error: OSError, *, as_json: bool) -> int:
    """Say that the output could not be written, where that can still be said."""
    message = f"the output could not be written: {error.strerror or error}"
    try:
        _tell(message, "output_unwritable", as_json=as_json, text=f"lash: {message}\n")
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  the interpreter flushes it at exit
    except OSError:
        pass
    return ExitCode.FAILED


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

    as_json = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to stderr."""
        error = record.exc_info[1] if record.exc_info else None
        raised = f" ({type(error).__name__}: {error})" if error is not None else ""
        message = f"{record.getMessage()}{raised}"
        if self.as_json:
            write_json_line(sys.stderr, {"warning": {"message": message}})
        else:
            sys.stderr.write(f"lash: {message}\n")


def _log_in_single_lines(*, as_json: bool) -> None:
    logger = logging.getLogger("lash")
    if not logger.handlers:
        logger.addHandler(_SingleLine(logging.WARNING))
    for handler in logger.handlers:
        if isinstance(handler, _SingleLine):
            handler.as_json = as_json
