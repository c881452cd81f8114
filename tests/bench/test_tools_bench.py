"""The bench of tool calls runs, measures what it says it does, and tells it."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def told(*words: str, given: str = "") -> str:
    run = subprocess.run(
        [sys.executable, *words],
        cwd=BENCH,
        input=given,
        env={"COLUMNS": "160", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_quick_run_measures_everything_and_can_be_told() -> None:
    facts = json.loads(told("tools.py", "--quick", "--no-mcp", "--json"))
    for place in ("memory", "sqlite"):
        for kind in ("sync", "async"):
            for count in (1, 8):
                assert facts[f"{place}_{kind}_{count}_us"]["n"] == 1
    assert facts["many_tools_us"]["median"] > 0
    assert facts["hooks_us"]["n"] == 1
    program = "import json, sys, tools; tools.report(json.load(sys.stdin), tools.QUICK)"
    shown = told("-c", program, given=json.dumps(facts))
    assert "turn of one call, 100 tools" in shown
    assert "as a tool, sqlite, 8 a message" in shown
    assert "MCP call" not in shown
