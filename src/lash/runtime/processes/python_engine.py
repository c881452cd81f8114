"""The Python engine: an `async def`, run from its beginning over its journal (ARCHITECTURE D9)."""

import asyncio
from typing import Any, cast

import msgspec

from lash.core.errors import LashError, ProcessCancelledError, StoreError
from lash.core.json import JsonObject, encode, to_json
from lash.core.text import described, spelled_out
from lash.effects.transitions import fit_outcome
from lash.processes.model import ProcessRecord
from lash.processes.outcomes import (
    FAILURE_CLASSES,
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessFailureClass,
    ProcessSuccess,
)
from lash.runtime.processes.context import ContinueAsNew, ProcessContext
from lash.runtime.processes.controlling import is_circumstance
from lash.runtime.processes.engines import Continue, RunOutcome
from lash.runtime.processes.function import PYTHON, ProcessFunction, ProcessFunctions
from lash.runtime.processes.run import ProcessRun
from lash.runtime.steps import cancels


class _Call(msgspec.Struct):
    """What a process of this engine runs."""

    name: str
    version: str
    args: dict[str, Any]


class PythonEngine:
    """Runs functions that were declared with `@lash.process`."""

    kind = PYTHON
    ordered = True

    def __init__(self, functions: ProcessFunctions) -> None:
        self._functions = functions

    def refusal(self, record: ProcessRecord) -> LashError | None:
        """Why a function cannot be run here: its name or version is not registered."""
        call = _call_of(record)
        if self._functions.find(call.name, call.version) is not None:
            return None
        if call.name in self._functions.names:
            return LashError(
                "process_version_missing",
                f"Process {record.process_id!r} was begun by version {call.version!r} of "
                f"{call.name!r}, which is not registered here. It waits; register that version beside "
                "the new one until it has ended.",
                name=call.name,
                version=call.version,
            )
        return LashError(
            "process_missing",
            f"Process {record.process_id!r} runs {call.name!r}, which is not registered here. It waits "
            "for a worker that has it.",
            name=call.name,
            version=call.version,
        )

    async def run(self, run: ProcessRun) -> RunOutcome:
        """Run the function, and take what it returns or raises for the process's end."""
        call = _call_of(run.record)
        function = self._functions.find(call.name, call.version)
        if function is None:
            raise self.refusal(run.record) or LashError("process_missing", "It is not here.")
        ctx = ProcessContext(run, function)
        ctx.begin()
        before = cancels()
        try:
            if not run.fresh:
                await ctx.recall()
            try:
                outcome = await _outcome(function, ctx, call.args)
            except asyncio.CancelledError as error:
                if ctx.stopped or cancels() > before:
                    raise
                outcome = failure_of(error)  # of its own making: a task it waited for was cancelled
            ctx.end()
        finally:
            await ctx.close()
        return outcome


def _call_of(record: ProcessRecord) -> _Call:
    try:
        return msgspec.convert(record.payload, _Call)
    except msgspec.ValidationError as error:
        raise StoreError(
            "store_corrupt", f"What process {record.process_id!r} runs cannot be read: {error}."
        ) from error


async def _outcome(
    function: ProcessFunction[..., Any], ctx: ProcessContext, args: JsonObject
) -> RunOutcome:
    try:
        value = await function.run(ctx, args)
    except ContinueAsNew as again:
        return Continue(again.payload)
    except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  what the code of a process raises is its end
        return _raised(error)
    return _success(function.name, value)


def _raised(error: BaseException) -> ProcessAwaitOutput:
    """What a process comes to whose code raised; a group of errors counts for what is in it.

    Raises:
        LashError: It says something of the surroundings, and nothing of the process.
    """
    leaves = _leaves(error)
    for leaf in leaves:
        if isinstance(leaf, LashError) and is_circumstance(leaf):
            raise leaf
    told = next((leaf for leaf in leaves if isinstance(leaf, ProcessCancelledError)), None)
    if told is not None:
        return ProcessCancelled(message=told.message)
    return failure_of(leaves[0] if len(leaves) == 1 else error)


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]


def _success(name: str, value: object) -> ProcessAwaitOutput:
    try:
        told = to_json(value)
    except LashError as error:
        return ProcessFailure(
            failure_class="execution",
            code="process_result_invalid",
            message=f"Process {name!r} returned something that cannot be stored. {error.message}",
        )
    too_large = fit_outcome(encode(told))
    if too_large is not None:
        return ProcessFailure(
            failure_class="resource_limit", code=too_large.code, message=too_large.message
        )
    return ProcessSuccess(value=told)


def failure_of(error: BaseException) -> ProcessFailure:
    """What a process comes to whose code raised."""
    if isinstance(error, LashError):
        given = error.details.get("failure_class")
        known = cast("ProcessFailureClass", given) if given in FAILURE_CLASSES else "execution"
        return ProcessFailure(
            failure_class=known, code=str(error.code), message=spelled_out(error.message)
        )
    return ProcessFailure(
        failure_class="timeout" if isinstance(error, TimeoutError) else "execution",
        code="process_failed",
        message=described(error),
    )
