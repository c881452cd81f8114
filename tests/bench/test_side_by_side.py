"""The bench beside others runs, tells who is better by how much, and says what it could not measure."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from bench_programs import run


def told(how: str, figures: dict[str, dict[str, list[float]]]) -> str:
    """What is told of figures."""
    program = f"""
import json, sys
from side_by_side import plot, results, telling
found = results.Results(machine=results.machine(), rounds=3, figures=json.load(sys.stdin))
{how}
"""
    return run("-c", program, given=json.dumps(figures))[0]


FIGURES = {
    "lash": {"steps_one": [1_900.0, 2_000.0, 2_200.0], "recovery": [1.5, 1.5, 1.5]},
    "raw_hop": {"steps_one": [2_500.0, 2_500.0, 2_500.0]},
    "dbos": {"steps_one": [500.0, 500.0, 500.0], "recovery": [12.0, 12.0, 12.0]},
    "restate": {"steps_one": [250.0, 250.0, 250.0]},
}


def test_a_quick_run_measures_everything_of_ours_and_keeps_it(tmp_path: Path) -> None:
    kept = ["--keep", str(tmp_path)]
    said, _ = run("-m", "side_by_side", "--quick", "--json", *kept, "--only", "lash", "asyncio")
    facts = json.loads(said)
    assert facts["missing"] == {}
    assert set(facts["figures"]["lash"]) == {
        *("steps_one", "steps_many", "workflows_one", "workflows_many", "recovery", "signal"),
        *("turn_2", "turn_50", "turn_200", "turn_growth", "turn_200_growth"),
        *("import_time", "import_memory"),
    }
    assert set(facts["figures"]["asyncio"]) == {"task_switches", "thread_hops"}
    for measured in facts["figures"].values():
        assert all(0 < each["low"] <= each["median"] <= each["high"] for each in measured.values())
    (plain,) = tmp_path.glob("*.json")
    assert json.loads(plain.read_text()) == facts
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".md", ".svg"}


def test_more_per_second_and_less_time_are_better_and_the_table_says_by_how_much() -> None:
    lines = told("print(telling.markdown(found))", FIGURES).splitlines()
    assert "| lash, SQLite | 2,000/s | ± 8% |  | WAL, synchronous=FULL |" in lines
    dbos = "| DBOS, SQLite as it comes | {} | ± 0% | {} x | rollback journal, synchronous=FULL |"
    assert dbos.format("500/s", "4.00") in lines
    assert dbos.format("12.00 s", "8.00") in lines


def test_an_aim_is_met_or_missed_by_the_medians() -> None:
    program = """
for each in found.verdicts():
    print(each.aim.measure, each.aim.against, round(each.found, 3), each.met)
"""
    assert told(program, FIGURES).splitlines() == [
        "steps_one raw_hop 0.8 True",
        "steps_one dbos 4.0 False",
        "steps_one restate 8.0 True",
        "recovery None 1.5 True",
        "recovery dbos 8.0 False",
    ]


def test_the_plot_has_a_bar_for_each_figure_and_longer_ones_for_higher_figures() -> None:
    picture = ET.fromstring(told("print(plot.svg(found))", FIGURES))  # noqa: S314  our own
    widths = [int(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(widths) == 6
    lash, raw, dbos, restate = widths[:4]
    assert raw > lash > dbos > restate


def test_who_cannot_be_measured_is_named_with_the_reason_and_the_others_are_measured() -> None:
    program = """
import asyncio, dataclasses
from side_by_side import __main__ as bench
from side_by_side.contenders import LIMITS
from side_by_side.results import Results
loop = LIMITS[-1]
broken = dataclasses.replace(loop, name="broken", program="no_such_program")
found = Results(machine={}, rounds=2)
work = bench.measure([broken, loop], bench.WORKLOADS, 2, found, quick=True)
asyncio.run(work)
print(found.missing, list(found.figures), len(found.figures["asyncio"]["task_switches"]))
"""
    said, _ = run("-c", program)
    assert said.startswith("{'broken': 'loop: ")
    assert "no_such_program" in said
    assert said.strip().endswith("['asyncio'] 2")


def test_a_name_that_there_is_not_is_refused_with_those_there_are() -> None:
    _, complaint = run("-m", "side_by_side", "--only", "temporal", code=1)
    assert complaint.startswith("there is no temporal; there are: asyncio, ")
