"""What commands have in common that do something to a process from outside."""

from lash.app.runtime import Runtime
from lash.cli.ps.standing import Standing, known, standing
from lash.cli.ps.words import outcome_text
from lash.cli.reading import now_ms
from lash.processes.materializing import status_of
from lash.processes.model import ProcessRecord
from lash.processes.outcomes import NoLongerRetained, ObservedOutput


async def seen(runtime: Runtime, record: ProcessRecord) -> Standing:
    """How a process stands, seen from a runtime that runs none."""
    process = await known(runtime.engine.store, record)
    return standing(process, runtime.engine.is_live_stranger, now_ms())


def is_run(runtime: Runtime, record: ProcessRecord) -> bool:
    """Whether a live worker holds a process."""
    held = record.lease.held
    return held is not None and runtime.engine.is_live_stranger(held)


def end_text(ended: ObservedOutput) -> str:
    """How a process ended: `completed`, `failed: No such order. [not_found]`."""
    if isinstance(ended, NoLongerRetained):
        return ended.terminal_status
    status, told = status_of(ended), outcome_text(ended)
    return f"{status}: {told}" if told else status
