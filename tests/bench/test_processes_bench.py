"""The bench of processes runs, measures what it says it does, and tells it."""

import json

from bench_programs import said

MEASURED = {
    "raw_rate",
    "grouped_rate",
    "process_rate",
    "processes_rate",
    "memory_process_rate",
    "memory_processes_rate",
    "step_rate",
    "steps_rate",
    "memory_step_rate",
    "memory_steps_rate",
    "process_to_raw",
    "processes_to_raw",
    "step_to_raw",
    "steps_to_raw",
    "recovery_s",
    "wake_here_ms",
    "wake_here_p95_ms",
    "wake_elsewhere_ms",
    "wake_elsewhere_p95_ms",
    "replay_s",
    "parked_mb",
}


def reported(facts: object) -> list[list[str]]:
    """The table's rows, as they are shown."""
    program = "import json, sys, processes; processes.report(json.load(sys.stdin), processes.QUICK)"
    shown = said("-c", program, given=json.dumps(facts))
    rows = [line.strip("│┃ ").split("│") for line in shown.splitlines() if "│" in line]
    return [[cell.strip() for cell in row] for row in rows]


def test_quick_run_measures_everything_and_can_be_said() -> None:
    facts = json.loads(said("processes.py", "--quick", "--json"))
    assert set(facts) >= MEASURED
    assert all(0 < fact["low"] <= fact["median"] <= fact["high"] for fact in facts.values())
    # Each step is a commit when nobody else writes; from many at once one commit takes several.
    assert facts["step_transactions"]["median"] >= 1
    assert facts["steps_transactions"]["median"] < 1

    labels = [row[0] for row in reported(facts)]
    assert "recovery of 50 after SIGKILL" in labels
    assert "memory of 200 that wait" in labels


def test_ratios_and_spread_stand_beside_what_they_belong_to() -> None:
    facts = {
        name: {"median": 1.0, "low": 1.0, "high": 1.0, "n": 1}
        for name in (
            *MEASURED,
            *("process_transactions", "processes_transactions", "raw_process_rate"),
            *("raw_processes_rate", "step_transactions", "steps_transactions"),
        )
    }
    facts["step_rate"] = {"median": 2000.0, "low": 1800.0, "high": 2200.0, "n": 5}
    facts["step_to_raw"]["median"] = 0.5
    (row,) = [row for row in reported(facts) if row[0] == "steps of one process"]
    assert row == ["steps of one process", "2,000/s", "± 10%", "0.50"]
