"""The workloads on lash, over a file or in memory."""

import asyncio
import statistics
import time
from pathlib import Path

import lash
import processes_child
from lash.testing import ScriptedModel, calls, reply
from processes_child import ALL, STAGE, listener, steps
from side_by_side.programs import common
from side_by_side.programs.common import CALLS, FINAL, PROMPT, Figures, Sizes, arguments, bytes_of


def store_of(flavour: str, folder: Path) -> str | Path:
    return ":memory:" if flavour == "memory" else folder / "lash.db"


async def in_turn(runtime: lash.Runtime, workflows: int, step_count: int) -> None:
    for _ in range(workflows):
        handle = await runtime.processes.start(steps, step_count)
        await handle.result()


async def rate(flavour: str, folder: Path, lanes: int, workflows: int, step_count: int) -> float:
    """How much of that is done per second: steps of workflows that have many, else workflows."""
    async with lash.Runtime(store_of(flavour, folder), processes=ALL) as runtime:
        await in_turn(runtime, 3, 1)
        began = time.perf_counter()
        await asyncio.gather(*(in_turn(runtime, workflows, step_count) for _ in range(lanes)))
        return lanes * workflows * step_count / (time.perf_counter() - began)


async def steps_one(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    return {"steps_one": await rate(flavour, folder, 1, 1, sizes["steps"])}


async def steps_many(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    return {"steps_many": await rate(flavour, folder, sizes["lanes"], 1, sizes["steps"])}


async def workflows_one(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    return {"workflows_one": await rate(flavour, folder, 1, sizes["workflows"], 1)}


async def workflows_many(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    done = await rate(flavour, folder, sizes["lanes"], sizes["workflows"], 1)
    return {"workflows_many": done}


async def plant(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Begin workflows, and be killed when all are in their third step."""
    await processes_child.plant(store_of(flavour, folder), sizes["planted"])
    return {}


async def recovery(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Open the runtime, and wait until all have ended."""
    store = store_of(flavour, folder)
    return {"recovery": await processes_child.recover(store, sizes["planted"])}


async def signal(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    took: list[float] = []
    async with lash.Runtime(store_of(flavour, folder), processes=ALL) as runtime:
        handle = await runtime.processes.start(listener)
        for number in range(sizes["signals"]):
            await runtime.idle()
            await asyncio.sleep(0.01 + 0.03 * number / sizes["signals"])
            began = time.perf_counter()
            await handle.signal("go")
            took.append((await STAGE.woken.get() - began) * 1000)
    return {"signal": statistics.median(took)}


@lash.tool
async def look_up(q: str, k: int) -> str:
    """Look up something."""
    del q, k
    return common.TOOL_RESULT


async def turns(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Turns of one conversation."""
    script = [calls(("look_up", arguments(number))) for number in range(CALLS)]
    model = ScriptedModel([*script, reply(FINAL)])
    agent = lash.Agent("bench", model=model, instructions="Be brief.", tools=[look_up])
    file, took, kept = folder / "lash.db", list[float](), list[int]()
    async with lash.Runtime(store_of(flavour, folder), agents=[agent]) as runtime:
        session = runtime.session("bench")
        for _ in range(sizes["turns"]):
            began = time.perf_counter()
            result = await session.run(PROMPT)
            took.append((time.perf_counter() - began) * 1000)
            assert result.text == FINAL
            kept.append(bytes_of(file))
            model.requests.clear()  # kept for tests; here it would be the bench's own growth
    return common.turn_figures(took, kept, sizes)


if __name__ == "__main__":
    common.main(
        {
            "steps_one": steps_one,
            "steps_many": steps_many,
            "workflows_one": workflows_one,
            "workflows_many": workflows_many,
            "plant": plant,
            "recovery": recovery,
            "signal": signal,
            "turn": turns,
            "conversation": turns,
        }
    )
