"""`lash worker`: real workers over real files, stopped, killed and side by side."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_harness import Command, Ended, start
from cli_harness import lash as run_lash
from processes_left import SHOP, Shop, reached
from recorded_turns import until

import lash
from lash.triggers.model import OccurrenceRequest

pytestmark = pytest.mark.slow

#: Long before a lease runs out (30 s), and long enough for a busy machine.
AT_ONCE_S = 10


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@asynccontextmanager
async def beside(place: Path, source: str = SHOP) -> AsyncIterator[tuple[lash.Runtime, Shop]]:
    """A runtime over the same file that runs nothing."""
    shop = Shop(source)
    async with lash.Runtime(
        place / "lash.db", agents=shop.agents, processes=shop.processes, run_processes=False
    ) as runtime:
        yield runtime, shop


async def working(place: Path, *arguments: str) -> Command:
    """A worker that is ready."""
    worker = await start("worker", *(arguments or ("shop",)), "--json", cwd=place)
    assert (await told(worker))["type"] == "ready"
    return worker


async def told(worker: Command, *kinds: str) -> dict[str, Any]:
    """The next line of a worker, or the next one of some kinds."""
    while True:
        line = await worker.line()
        assert line, "the worker ended"
        read: dict[str, Any] = json.loads(line)
        if not kinds or read["type"] in kinds:
            return read


def lines(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.out.splitlines()]


def kinds(ended: Ended) -> list[str]:
    return [line["type"] for line in lines(ended)]


async def stopped(worker: Command) -> list[dict[str, Any]]:
    worker.terminate()
    ended = await worker.ended()
    assert ended.code == 0, ended.err
    return lines(ended)


# --- what it tells ------------------------------------------------------------------------------------


async def test_a_worker_tells_what_begins_and_ends_in_it(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["adds"], 40, 2, id="adds-1")
        await runtime.processes.start(shop["fails"], id="fails-1")
    ended = await run_lash("worker", "shop", "--until-idle", cwd=place)
    assert (ended.code, ended.err) == (0, "")
    out = ended.out.splitlines()
    assert out[0].startswith("worker ")
    assert out[0].endswith(" on lash.db")
    assert out[1:3] == [
        "  agents     support v1",
        "  processes  adds v1, both v1, digs v1, fails v1, notify v2, refund v1, unlucky v1, watches v1",
    ]
    assert sorted(line[21:].split(" after ")[0] for line in out[3:-2]) == [
        "adds-1 · adds v1 · began",
        "adds-1 · adds v1 · completed",
        "fails-1 · fails v1 · began",
        "fails-1 · fails v1 · failed",
    ]
    (failed,) = [line for line in out if "· failed" in line]
    assert failed.endswith(": ValueError: There is no such order. [process_failed]")
    assert out[-2:] == ["idle: nothing can go on without the outside", "stopped"]


async def test_each_line_is_a_document_for_programs(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["fails"], id="fails-1", label="a label")
    ended = await run_lash("worker", "shop:fails", "--until-idle", "--json", cwd=place)
    assert (ended.code, ended.err) == (0, "")
    ready, began, failed, stopping, stop = lines(ended)
    for line in (ready, began, failed, stopping, stop):
        assert line.pop("at_ms") > 0
    assert set(ready.pop("owner")) == {"owner_id", "incarnation", "host"}
    assert ready == {
        "type": "ready",
        "database": "lash.db",
        "agents": [],
        "processes": [{"name": "fails", "version": "1"}],
    }
    same = {
        "process_id": "fails-1",
        "kind": "python",
        "label": "a label",
        "name": "fails",
        "version": "1",
        "attempt": 1,
        "waits_for": None,
        "next_attempt_at_ms": None,
    }
    assert began == same | {
        "type": "began",
        "status": "running",
        "code": None,
        "message": None,
        "duration_ms": None,
        "outcome": None,
    }
    assert failed.pop("duration_ms") >= 0
    assert failed == same | {
        "type": "ended",
        "status": "failed",
        "code": "process_failed",
        "message": "ValueError: There is no such order.",
        "outcome": {
            "type": "failure",
            "failure_class": "execution",
            "code": "process_failed",
            "message": "ValueError: There is no such order.",
            "evidence": None,
        },
    }
    assert stopping == {"type": "stopping", "reason": "idle"}
    assert stop == {"type": "stopped", "given_back": [], "given_up": []}


async def test_turns_are_driven_and_told(place: Path) -> None:
    async with beside(place) as (runtime, _):
        await runtime.processes.start_turn("support", "Hello?", id="turn-1")
    ended = await run_lash("worker", "shop", "--until-idle", "--json", cwd=place)
    assert (ended.code, ended.err) == (0, "")
    assert kinds(ended) == [
        "ready",
        "began",
        "turn_began",
        "turn_ended",
        "ended",
        "stopping",
        "stopped",
    ]
    turn = lines(ended)[3]
    assert turn.pop("at_ms") >= turn.pop("duration_ms") >= 0
    assert turn.pop("outcome")["status"] == "finished"
    assert turn == {
        "type": "turn_ended",
        "session_id": "turn-1:session",
        "turn_id": "turn-1",
        "agent": None,
        "version": None,
        "waits_for": None,
        "code": None,
        "message": None,
        "restarted_as": None,
    }
    again = await run_lash("show", "turn-1:session", "--json", cwd=place)
    assert [turn["text"] for turn in again.json["turns"]] == ["Hello."]


async def test_what_waits_for_code_is_told_once_and_taken_up_by_who_has_it(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["adds"], 1, 2, id="adds-1")
    without = await run_lash("worker", "shop:fails", "--until-idle", cwd=place)
    assert (without.code, without.err) == (0, "")
    (line,) = [line for line in without.out.splitlines() if "adds-1" in line]
    assert "adds-1 · adds v1 · parked, waits for its code: " in line
    assert line.endswith("[process_missing]")
    with_it = await run_lash("worker", "shop", "--until-idle", "--json", cwd=place)
    assert kinds(with_it) == ["ready", "began", "ended", "stopping", "stopped"]


async def test_what_a_module_prints_is_no_part_of_the_report(place: Path) -> None:
    (place / "loud.py").write_text(LOUD)
    async with beside(place, LOUD) as (runtime, shop):
        await runtime.processes.start(shop["shouts"], id="shouts-1")
    ended = await run_lash("worker", "loud", "--until-idle", "--json", cwd=place)
    assert kinds(ended) == ["ready", "began", "ended", "stopping", "stopped"]
    assert ended.err == "imported\nshouted\nwritten\nechoed\n"


LOUD = """
import os, subprocess
import lash
from lash.triggers.model import OccurrenceRequest

print("imported")

@lash.process
async def shouts(ctx: lash.ProcessContext) -> None:
    print("shouted", flush=True)
    os.write(1, b"written\\n")
    subprocess.run(["echo", "echoed"], check=True)
"""


async def test_results_and_signals_are_not_told(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["refund"], "o-7", id="refund-7")
        await runtime.processes.signal("refund-7", "approved", {"by": "signal-secret"})
    for form in ([], ["--json"]):
        ended = await run_lash("worker", "shop", "--until-idle", *form, cwd=place)
        for secret in ("signal-secret", "step-secret", "result-secret"):
            assert secret not in ended.out + ended.err
    assert (await run_lash("ps", "refund-7", cwd=place)).out.count("completed") == 3


# --- stopping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
async def test_a_worker_that_is_stopped_gives_everything_back(place: Path, how: str) -> None:
    worker = await working(place)
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["refund"], "o-7", id="refund-7")
        await runtime.processes.start(shop["digs"], id="digs-1")
        await reached(runtime, "refund-7", "waiting")
        await until((place / "looking").exists)
        if how == "SIGTERM":
            worker.terminate()
        else:
            worker.interrupt()
        ended = await worker.ended()
        assert (ended.code, ended.err) == (0, "")
        *_, stopping, _, _, last = lines(ended)
        assert (stopping["type"], stopping["reason"]) == ("stopping", "asked")
        assert sorted(last["given_back"]) == ["digs-1", "refund-7"]
        assert last["given_up"] == []
        for process_id in ("refund-7", "digs-1"):
            assert (await runtime.processes.get(process_id)).lease.held is None
        (place / "found").touch()
        await runtime.processes.signal("refund-7", "approved", 1)
    second = await run_lash("worker", "shop", "--until-idle", "--json", cwd=place)
    done = {line["process_id"]: line for line in lines(second) if line["type"] == "ended"}
    assert {name: (line["status"], line["attempt"]) for name, line in done.items()} == {
        "refund-7": ("completed", 2),
        "digs-1": ("completed", 2),
    }


async def test_work_that_is_bound_to_its_worker_is_given_up_and_said(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["watches"], id="watches-1")
    ended = await run_lash("worker", "shop", "--until-idle", cwd=place)
    assert ended.code == 0
    out = ended.out.splitlines()
    assert out[-1] == "stopped: 1 process given up"
    assert out[-2].partition(" · ")[2].startswith("watches v1 · abandoned after ")
    assert out[-2].endswith(": given up as its worker shut down")


async def test_who_stops_a_worker_twice_does_not_wait(place: Path) -> None:
    (place / "stubborn.py").write_text(STUBBORN)
    worker = await working(place, "stubborn")
    async with beside(place, STUBBORN) as (runtime, shop):
        await runtime.processes.start(shop["stays"], id="stays-1")
        await reached(runtime, "stays-1", "waiting")
        worker.terminate()
        assert (await told(worker, "stopping"))["reason"] == "asked"
        await until((place / "asked").exists)
        worker.terminate()
        ended = await worker.ended()
        assert (ended.code, ended.out, ended.err) == (-15, "", "")
        assert (await runtime.processes.get("stays-1")).status == "waiting"  # and nothing is lost


#: A process that does not let itself be stopped.
STUBBORN = """
import asyncio
import pathlib
import lash
from lash.triggers.model import OccurrenceRequest

@lash.process
async def stays(ctx: lash.ProcessContext) -> None:
    try:
        await ctx.signal("never")
    except asyncio.CancelledError:
        pathlib.Path("asked").touch()
        await asyncio.sleep(60)
"""


async def test_a_worker_whose_reader_is_gone_stops_and_gives_back(place: Path) -> None:
    worker = await working(place)
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["refund"], "o-7", id="refund-7")
        await reached(runtime, "refund-7", "waiting")
        worker.stop_reading()
        await runtime.processes.start(shop["adds"], 1, 2, id="adds-1")
        await reached(runtime, "adds-1", "completed")
        ended = await worker.ended()
        assert ended.code == 1
        assert json.loads(ended.err)["error"]["code"] == "output_unwritable"
        assert (await runtime.processes.get("refund-7")).lease.held is None


# --- dying and sharing --------------------------------------------------------------------------------


async def test_a_second_worker_takes_over_from_a_killed_one_at_once(place: Path) -> None:
    first = await working(place)
    second = await working(place)
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["digs"], id="digs-1")
        workers = {"first": first, "second": second}
        began = {name: asyncio.create_task(told(each, "began")) for name, each in workers.items()}
        (done, waiting) = await asyncio.wait(began.values(), return_when=asyncio.FIRST_COMPLETED)
        (killed,) = [name for name, task in began.items() if task in done]
        (heir,) = [name for name, task in began.items() if task in waiting]
        await until((place / "looking").exists)
        workers[killed].kill()
        async with asyncio.timeout(AT_ONCE_S):
            line = await began[heir]
        assert (line["process_id"], line["attempt"]) == ("digs-1", 2)
        (place / "found").touch()
        assert (await told(workers[heir], "ended"))["status"] == "completed"
    await workers[killed].ended()
    await stopped(workers[heir])


async def test_a_worker_that_comes_later_takes_up_what_a_killed_one_left(place: Path) -> None:
    first = await working(place)
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["refund"], "o-7", id="refund-7")
        await runtime.processes.start(shop["watches"], id="watches-1")
        await reached(runtime, "refund-7", "waiting")
        await reached(runtime, "watches-1", "waiting")
        first.kill()
        await first.ended()
        left = {
            process["process_id"]: process
            for process in (await run_lash("ps", "--json", cwd=place)).json
        }
        assert {name: each["state"] for name, each in left.items()} == {
            "refund-7": "waiting",
            "watches-1": "stranded",
        }
        assert left["refund-7"]["owner"]["alive"] is False
        told_of = await run_lash("ps", cwd=place)
        assert (
            "watches-1 needs a person: its worker is gone, and it is never begun again elsewhere. "
            "Give it up: lash abandon watches-1"
        ) in told_of.out
        await runtime.processes.signal("refund-7", "approved", 1)
    async with asyncio.timeout(AT_ONCE_S):
        second = await run_lash("worker", "shop", "--until-idle", "--json", cwd=place)
    ended = [line for line in lines(second) if line["type"] == "ended"]
    assert sorted((line["process_id"], line["attempt"], line["status"]) for line in ended) == [
        ("refund-7", 2, "completed"),
        ("watches-1", 1, "abandoned"),  # proven dead, so nobody need say so
    ]


async def test_two_workers_share_the_work_and_each_tells_its_own(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        for number in range(60):
            await runtime.processes.start(shop["adds"], number, 1, id=f"adds-{number:02}")
    arguments = ("worker", "shop", "--until-idle", "--concurrency", "2", "--json")
    both = await asyncio.gather(*(run_lash(*arguments, cwd=place) for _ in range(2)))
    assert [ended.code for ended in both] == [0, 0]
    of_each = [
        [line["process_id"] for line in lines(ended) if line["type"] == "ended"] for ended in both
    ]
    assert sorted(of_each[0] + of_each[1]) == [f"adds-{number:02}" for number in range(60)]
    for ended, own in zip(both, of_each, strict=True):
        began = [line["process_id"] for line in lines(ended) if line["type"] == "began"]
        assert sorted(began) == sorted(own)


async def test_no_more_run_at_once_than_asked_for(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        for number in (1, 2):
            await runtime.processes.start(shop["digs"], id=f"digs-{number}")
    worker = await working(place, "shop", "--concurrency", "1")
    assert (await told(worker, "began"))["process_id"] == "digs-1"
    await until((place / "looking").exists)
    states = {
        process["process_id"]: process["state"]
        for process in (await run_lash("ps", "--json", cwd=place)).json
    }
    assert states == {"digs-1": "running", "digs-2": "ready"}
    (place / "found").touch()
    rest = [await told(worker) for _ in range(3)]
    assert [(line["type"], line["process_id"]) for line in rest] == [
        ("ended", "digs-1"),
        ("began", "digs-2"),
        ("ended", "digs-2"),
    ]
    await stopped(worker)


# --- coming to rest -----------------------------------------------------------------------------------


async def test_until_idle_waits_for_the_next_attempt_and_not_for_the_outside(place: Path) -> None:
    async with beside(place) as (runtime, shop):
        await runtime.processes.start(shop["refund"], "o-7", id="refund-7")
        await runtime.processes.start(shop["notify"], "o-7", id="notify-7")
        await runtime.processes.start(shop["unlucky"], id="unlucky-1")
    worker = await working(place, "shop", "--until-idle")
    resting = await told(worker, "resting")
    assert (resting["process_id"], resting["code"]) == ("unlucky-1", "store_busy")
    assert resting["next_attempt_at_ms"] > resting["at_ms"] - 1_000
    (place / "better").touch()
    ended = await worker.ended()
    assert ended.code == 0
    assert lines(ended)[-2]["type"] in {"given_back", "stopping"}
    done = [line["process_id"] for line in lines(ended) if line["type"] == "ended"]
    assert done == ["unlucky-1"]
    assert sorted(lines(ended)[-1]["given_back"]) == ["notify-7", "refund-7"]


async def test_a_worker_makes_the_database_and_waits_for_work(place: Path) -> None:
    worker = await working(place, "shop", "--db", "new.db")
    assert (place / "new.db").exists()
    told = await stopped(worker)
    assert [line["type"] for line in told] == ["stopping", "stopped"]


# --- what cannot be run -------------------------------------------------------------------------------

MODULES = {
    "empty": "seven = 7\n",
    "broken": "raise ValueError('module-text')\n",
    "leaving": "import sys\nsys.exit(3)\n",
    "needy": "import a_package_that_nobody_has\n",
    "listed": "import lash\nwork = []\npaid = lash.TriggerEvent('order.paid')\nmade = lambda: [7]\nneeds = lambda one: [one]\n",
}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("nothing", "there is no module 'nothing' here or among the installed packages"),
        ("empty", "module empty holds no agent and no process function at its top level"),
        ("broken", "importing broken failed: ValueError: module-text"),
        ("leaving", "importing leaving failed: SystemExit: 3"),
        ("needy", "importing needy failed: No module named 'a_package_that_nobody_has'"),
        ("listed:work", "it names an empty list; there is nothing to run"),
        ("listed:paid", "it names events alone; there is nothing to run"),
        ("listed:made", "it names a value of type int, not an agent, a process function"),
        ("listed:needs", "calling it without arguments failed: TypeError"),
        ("listed:nothing", "module listed has no 'nothing'"),
        ("shop:load", "calling it without arguments failed: TypeError"),
        (".shop", "write it as MODULE or MODULE:NAME"),
        ("shop:", "write it as MODULE or MODULE:NAME"),
    ],
)
async def test_a_module_that_cannot_be_run_says_why(place: Path, spec: str, why: str) -> None:
    for name, text in MODULES.items():
        (place / f"{name}.py").write_text(text)
    ended = await run_lash("worker", spec, cwd=place)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"lash: {spec}: {why}")
    assert ended.err.endswith("[worker_module_invalid]\n")
    assert not (place / "lash.db").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["shop", "--db", ":memory:"], "usage_invalid"),
        (["shop", "--db", "postgresql://x/y"], "store_url_unknown"),
        (["shop", "--concurrency", "0"], "usage_invalid"),
        (["twice"], "process_duplicate"),
        ([], "usage_invalid"),
    ],
)
async def test_what_cannot_be_is_refused(place: Path, arguments: Sequence[str], code: str) -> None:
    (place / "twice.py").write_text(
        "import lash\nfrom shop import adds\n\n"
        '@lash.process(name="adds")\nasync def other(ctx: lash.ProcessContext) -> None:\n    pass\n'
    )
    ended = await run_lash("worker", *arguments, "--json", cwd=place)
    assert (ended.code, ended.out) == (2, "")
    assert json.loads(ended.err)["error"]["code"] == code


@pytest.mark.parametrize("name", ["work", "make", "adds"])
async def test_a_name_may_be_one_a_list_or_a_function_that_makes_them(
    place: Path, name: str
) -> None:
    (place / "named.py").write_text(
        "from shop import adds, fails\nwork = [adds, fails]\nagain = adds\n"
        "def make():\n    return (adds,)\n"
    )
    worker = await start("worker", f"named:{name}", "--json", cwd=place)
    ready = await told(worker)
    found = [process["name"] for process in ready["processes"]]
    assert found == (["adds", "fails"] if name == "work" else ["adds"])
    await stopped(worker)


# --- events -------------------------------------------------------------------------------------------

EVENTS = """
import lash
from lash.triggers.model import OccurrenceRequest

paid = lash.TriggerEvent("order.paid")


@lash.process
async def ship(ctx: lash.ProcessContext, order_id: str) -> str:
    return order_id


@lash.process
async def sells(ctx: lash.ProcessContext) -> str:
    return (await ctx.triggers.emit(paid, {"id": "o-7"}, key="sold")).event
"""


async def test_a_worker_takes_the_events_of_its_module_and_tells_what_cannot_be_started(
    tmp_path: Path,
) -> None:
    (tmp_path / "shop.py").write_text(EVENTS)
    shop: dict[str, Any] = {}
    exec(compile(EVENTS, "shop.py", "exec"), shop)  # noqa: S102  our own source
    async with lash.Runtime(
        tmp_path / "lash.db",
        processes=[shop["ship"], shop["sells"]],
        triggers=[shop["paid"]],
        run_processes=False,
    ) as runtime:
        await runtime.triggers.subscribe(
            "order.paid", shop["ship"], key="ship", input={"order_id": lash.from_event("id")}
        )
        await runtime.processes.start(shop["sells"], id="sells-1")
        store = runtime.engine.store.triggers
        await store.ingest(OccurrenceRequest(event="order.paid", key="bare", payload={}))
    ended = await run_lash("worker", "shop", "--until-idle", "--json", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    (failed,) = [each for each in lines(ended) if each["type"] == "delivery_failed"]
    assert (failed["event"], failed["key"], failed["code"]) == (
        "order.paid",
        "ship",
        "trigger_input_missing",
    )
    done = [each for each in lines(ended) if each["type"] == "ended"]
    assert sorted((each["name"], each["status"]) for each in done) == [
        ("sells", "completed"),
        ("ship", "completed"),
    ]


async def test_a_delivery_that_cannot_be_started_is_a_line_for_people(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(EVENTS)
    shop: dict[str, Any] = {}
    exec(compile(EVENTS, "shop.py", "exec"), shop)  # noqa: S102  our own source
    async with lash.Runtime(
        tmp_path / "lash.db", processes=[shop["ship"]], triggers=[shop["paid"]]
    ) as runtime:
        await runtime.triggers.subscribe(
            "order.paid", shop["ship"], key="ship", input={"order_id": lash.from_event("id")}
        )
        store = runtime.engine.store.triggers
        await runtime.idle(20)
        await store.ingest(OccurrenceRequest(event="order.paid", key="bare", payload={}))
    ended = await run_lash("worker", "shop", "--until-idle", cwd=tmp_path)
    assert ended.code == 0
    (line,) = [each for each in ended.out.splitlines() if "was not started" in each]
    assert (
        "event order.paid · subscription ship · was not started: The event has no event.id" in line
    )
    assert "[trigger_input_missing]" in line
