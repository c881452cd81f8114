"""Engines: who runs which kind of process (process spec 1.14)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonValue
from lash.processes.model import ProcessRecord, engine_kind
from lash.processes.outcomes import ProcessAwaitOutput

if TYPE_CHECKING:
    from lash.runtime.processes.run import ProcessRun


@dataclass(frozen=True, slots=True)
class Continue:
    """The process goes on in a new segment, with this payload."""

    payload: JsonValue


RunOutcome: TypeAlias = ProcessAwaitOutput | Continue


class ProcessEngine(Protocol):
    """Runs processes of one kind."""

    @property
    def kind(self) -> str:
        """Which kind, as `engine_kind` tells it."""
        ...

    @property
    def ordered(self) -> bool:
        """Whether what it runs asks for its effects in the same order every time, branch by branch."""
        ...

    def refusal(self, record: ProcessRecord) -> LashError | None:
        """Why a process of the kind cannot be run here, if it cannot: its code is not here.

        Asked before anything is claimed, so what has been begun can be run.
        """
        ...

    async def run(self, run: "ProcessRun") -> RunOutcome:
        """Run a process whose lease is held, from its beginning over its journal.

        Failures of the process are outcomes. What is raised says something of the surroundings: the
        process is begun again later, or waits for a person.

        Raises:
            LashError: Nothing is recorded as the process's end.
        """
        ...


class Engines:
    """The engines of a runtime, by kind.

    Raises:
        ConfigurationError: `process_duplicate`.
    """

    def __init__(self, engines: Iterable[ProcessEngine]) -> None:
        self._engines: dict[str, ProcessEngine] = {}
        for engine in engines:
            if engine.kind in self._engines:
                raise ConfigurationError(
                    "process_duplicate", f"Two engines run processes of kind {engine.kind!r}."
                )
            self._engines[engine.kind] = engine

    def find(self, record: ProcessRecord) -> ProcessEngine | None:
        """Who runs a process."""
        return self._engines.get(engine_kind(record.registration.input))

    def refusal(self, record: ProcessRecord) -> LashError | None:
        """Why a process cannot be run here, if it cannot."""
        engine = self.find(record)
        if engine is not None:
            return engine.refusal(record)
        kind = engine_kind(record.registration.input)
        known = ", ".join(sorted(self._engines)) or "none"
        return LashError(
            "process_engine_missing",
            f"Process {record.process_id!r} runs on the engine {kind!r}, which this worker does not have "
            f"(it has: {known}). It waits for one that does.",
            kind=kind,
        )
