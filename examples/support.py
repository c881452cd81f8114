"""A support agent that looks up orders and issues refunds, on one SQLite file.

    python examples/support.py                 with a scripted model, no network
    OPENAI_API_KEY=… python examples/support.py openai:gpt-5.2 "Where is order 7?"

Run it twice: the second run finds the first one's conversation. Kill it in between: the next run
finishes the turn that was under way.
"""

import asyncio
import sys
from dataclasses import dataclass
from typing import Annotated

import lash
from lash.testing import ScriptedModel, calls, reply


@dataclass
class Order:
    """An order as the shop knows it."""

    order_id: str
    status: str
    cents: int


@lash.tool
async def lookup_order(order_id: Annotated[str, "The number on the invoice"]) -> Order:
    """Look up one order."""
    return Order(order_id, "delivered", 4_200)


@lash.tool(retry=lash.ToolRetry(max_attempts=3))
async def refund(order_id: str, cents: int, ctx: lash.ToolContext) -> str:
    """Give money back for an order.

    order_id: The order.
    cents: How much to give back.
    """
    # A payment service that is handed the same key twice pays once.
    return f"refunded {cents} cents for order {order_id} under {ctx.idempotency_key}"


SCRIPT = ScriptedModel(
    [
        calls(("lookup_order", {"order_id": "7"})),
        calls(("refund", {"order_id": "7", "cents": 4_200}), text="It was delivered. Refunding."),
        reply("Order 7 is refunded; the money is on its way."),
    ]
)


async def main(model: str | ScriptedModel, prompt: str) -> None:
    support = lash.Agent(
        "support",
        model=model,
        instructions="You answer for a small shop. Be brief. Refund only what was delivered.",
        tools=[lookup_order, refund],
        max_turns=8,
    )
    async with lash.Runtime("support.db", agents=[support]) as runtime:
        session = runtime.session("customer-42", agent="support")
        async with session.stream(prompt) as live:
            async for event in live:
                match event:
                    case lash.events.TextDelta(text=text):
                        print(text, end="", flush=True)
                    case lash.events.ToolCallCompleted(call=call):
                        print(f"\n[{call.tool}] {call.args}")
                    case _:
                        pass
            result = await live.result()
        print(f"\n{result.usage.total_tokens} tokens, {len(await session.turns())} turns so far")


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else SCRIPT
    said = sys.argv[2] if len(sys.argv) > 2 else "I want my money back for order 7."
    asyncio.run(main(chosen, said))
