"""What the demo found, as data: both processes, the journal held against the ledger, the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from lash.cli.demo.evidence import RecordedEffect, Verdict, check, recorded_effects
from lash.cli.demo.ledger import Execution, executions, read_ledger
from lash.cli.demo.plan import KillPoint
from lash.cli.demo.processes import ProcessRun
from lash.cli.demo.worker import SESSION, ResumeReport
from lash.cli.reading import reading
from lash.cli.transcript import CommittedTurn, Transcript, load_transcript, transcript_json
from lash.core.scopes import TurnScope, journal_key

Fate: TypeAlias = Literal["", "recorded", "lost", "replayed"]


@dataclass(frozen=True, slots=True)
class EffectStory:
    """A model call or tool attempt: where it really ran, and what the journal has of it."""

    effect: str
    label: str
    executions: Sequence[Execution]
    recorded: RecordedEffect | None

    def fate(self, pid: int, *, resumed: bool) -> Fate:
        """What became of it in a process; `resumed` says that it went on with a turn it found."""
        if any(one.pid == pid for one in self.executions):
            last = self.executions[-1].pid
            return "recorded" if self.recorded is not None and last == pid else "lost"
        return "replayed" if resumed and self.recorded is not None else ""


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Everything the demo shows and everything `--json` prints."""

    kill: KillPoint
    first: ProcessRun
    second: ProcessRun
    resume: ResumeReport
    effects: Sequence[EffectStory]
    transcript: Transcript
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.verdict.problems

    @property
    def resumed(self) -> bool:
        """Whether the second process had something left to do."""
        return self.resume.working_after_ms is not None

    @property
    def turn(self) -> CommittedTurn | None:
        """The committed turn."""
        return self.transcript.turns[0] if self.transcript.turns else None

    @property
    def replayed(self) -> Sequence[EffectStory]:
        """What the second process took from the journal instead of running it."""
        fates = [story.fate(self.second.pid, resumed=self.resumed) for story in self.effects]
        return [
            story for story, fate in zip(self.effects, fates, strict=True) if fate == "replayed"
        ]


async def collect(
    kill: KillPoint,
    processes: tuple[ProcessRun, ProcessRun],
    resume: ResumeReport,
    database: Path,
    ledger: Path,
) -> DemoReport:
    """Read what the two processes left, and judge it."""
    first, second = processes
    ran = executions(read_ledger(ledger))
    async with reading(str(database)) as store:
        transcript = await load_transcript(store, SESSION)
        turn_ids = [
            *(turn.record.turn_id for turn in transcript.turns),
            *(item.turn.turn_id for item in transcript.open_turns),
        ]
        scope = TurnScope(session_id=SESSION, turn_id=turn_ids[0])
        recorded = recorded_effects(await store.load_journal(journal_key(scope)))
    finished = len(transcript.turns) == 1 and not transcript.open_turns
    return DemoReport(
        kill=kill,
        first=first,
        second=second,
        resume=resume,
        effects=_stories(ran, recorded),
        transcript=transcript,
        verdict=check(ran, recorded, first_pid=first.pid, second_pid=second.pid, finished=finished),
    )


def _stories(ran: Sequence[Execution], recorded: Sequence[RecordedEffect]) -> list[EffectStory]:
    """One story for each effect, in the order they first began."""
    rows = {item.effect: item for item in recorded}
    labels = {one.effect: one.label for one in reversed(ran)}
    order = dict.fromkeys([*(one.effect for one in ran), *rows])
    return [
        EffectStory(
            effect=effect,
            label=labels.get(effect, effect),
            executions=[one for one in ran if one.effect == effect],
            recorded=rows.get(effect),
        )
        for effect in order
    ]


def report_json(report: DemoReport, kept: Path | None) -> dict[str, object]:
    """The report as one JSON document."""
    turn = transcript_json(report.transcript)["turns"]
    first, second = report.first, report.second
    return {
        "ok": report.ok,
        "problems": report.verdict.problems,
        "notes": report.verdict.notes,
        "killed": {
            "pid": first.pid,
            "returncode": first.returncode,
            "signal": -first.returncode,
            "seam": report.kill.seam,
            "nth": report.kill.nth,
            "started_at_ms": first.started_at_ms,
            "died_at_ms": first.ended_at_ms,
        },
        "resumed": {
            "pid": second.pid,
            "returncode": second.returncode,
            "working_after_ms": report.resume.working_after_ms,
            "idle_after_ms": report.resume.idle_after_ms,
            "replayed": [story.label for story in report.replayed],
            "started_at_ms": second.started_at_ms,
            "ended_at_ms": second.ended_at_ms,
        },
        "effects": report.effects,
        "turns": turn,
        "kept_in": None if kept is None else str(kept),
    }
