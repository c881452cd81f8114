"""What the durability tests of pictures in turns run in processes of its own, to be killed at a seam."""

import asyncio
import sys

from attachment_worker import killer, say

import lash
from lash.llm.request import AttachmentBlock, ToolResultBlock
from lash.testing import ScriptedModel, calls, reply

#: A PNG as far as its first bytes go.
PNG = b"\x89PNG\r\n\x1a\n"


def pictures(model: ScriptedModel) -> list[int]:
    """How large the pictures are that the last request showed."""
    blocks = [block for message in model.requests[-1].messages for block in message.blocks]
    for block in list(blocks):
        if isinstance(block, ToolResultBlock):
            blocks += block.pieces
    return [
        len(block.source.data)
        for block in blocks
        if isinstance(block, AttachmentBlock) and isinstance(block.source, lash.InlineSource)
    ]


async def tool(db: str, seam: str, nth: str) -> None:
    """A turn whose tool answers with a picture; or going on with one."""

    @lash.tool
    async def draw() -> list[object]:
        """Draw something."""
        return ["here", lash.InlineSource(data=PNG + b"tool")]

    model = ScriptedModel([calls(("draw", {})), reply("done")])
    agent = lash.Agent("a", model=model, tools=[draw])
    async with lash.Runtime(db, agents=[agent], seams=killer(seam, int(nth))) as runtime:
        result = await runtime.session("s").run("draw", turn_id="t1")
        say(text=result.text, pictures=pictures(model) if model.requests else None)


async def said(db: str, seam: str, nth: str) -> None:
    """A turn whose input is a picture."""
    model = ScriptedModel([reply("a cat")])
    agent = lash.Agent("a", model=model)
    async with lash.Runtime(db, agents=[agent], seams=killer(seam, int(nth))) as runtime:
        prompt: list[str | lash.InlineSource] = ["What?", lash.InlineSource(data=PNG + b"said")]
        result = await runtime.session("s").run(prompt, turn_id="t1")
        say(text=result.text, pictures=pictures(model) if model.requests else None)


async def resume(db: str) -> None:
    """Sweep first, as somebody else might, then finish what is there without being asked again."""
    model = ScriptedModel(lambda _: reply("resumed"))
    async with lash.Runtime(db) as runtime:
        swept = (await runtime.attachments.reclaim(0, allow_empty=True)).reclaimed

    @lash.tool
    async def draw() -> list[object]:
        """Draw something."""
        return ["again", lash.InlineSource(data=PNG + b"again")]

    async with lash.Runtime(db, agents=[lash.Agent("a", model=model, tools=[draw])]) as runtime:
        await runtime.idle(timeout=30)
        turns = await runtime.session("s").turns()
        left = (await runtime.attachments.reclaim(0, allow_empty=True)).reclaimed
        entries = await runtime.session("s").attachments.list()
        say(
            swept=swept,
            turns=len(turns),
            pictures=pictures(model) if model.requests else None,
            left=left,
            kept=sorted(entry.ref.byte_len for entry in entries if entry.committed_at_ms),
            unkept=len([entry for entry in entries if not entry.committed_at_ms]),
        )


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    jobs = {job.__name__: job for job in (tool, said, resume)}
    asyncio.run(jobs[what](*arguments))
