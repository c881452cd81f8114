"""Direct completions as the runtime carries them out: one model call with its ladder, no turn."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from lash.core.clock import Clock
from lash.effects.outcomes import DirectCall, DirectOutcome
from lash.llm.direct import DirectResult, OutputContract, direct_result
from lash.llm.provider import Provider
from lash.llm.request import LlmRequest, ModelSpec
from lash.llm.retry import RetryPolicy
from lash.runtime.model_call import ModelCall


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A model with the provider that serves it and the patience to have with it."""

    spec: ModelSpec
    provider: Provider
    retry: RetryPolicy


#: Finds the model that a caller names; None names the default.
ResolveModel: TypeAlias = Callable[[object], BoundModel]


async def complete(
    request: LlmRequest, model: BoundModel, clock: Clock, usage_source: str
) -> DirectOutcome:
    """Ask the model; what it failed with is data in the outcome."""
    call = ModelCall(model.provider, request, model.retry, clock, lambda _: None)
    # In a task of its own: the caller's is anybody's, and a cancellation that it outlived before must
    # not be taken for one of this call. One that comes now reaches the call all the same.
    answered = await asyncio.create_task(call.run(), name="lash-direct")
    return DirectOutcome(
        record=msgspec.structs.replace(answered.record, source=usage_source),
        response=answered.response,
        failure=answered.failure,
        wasted=answered.wasted,
    )


def result_of(contract: OutputContract, outcome: DirectOutcome) -> DirectResult[object]:
    """What a completed call came to.

    Raises:
        DirectError: `direct_failed`, `invalid_structured_output`.
    """
    answer = outcome.response or outcome.failure
    return direct_result(contract, outcome.record, answer, outcome.wasted)


def booked(outcome: DirectOutcome) -> DirectCall:
    """What a call cost, as it is booked with the attempt that made it."""
    return DirectCall(record=outcome.record, usage=outcome.spent)
