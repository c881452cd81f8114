"""Why a session's work cannot go on here, as errors that say what to do."""

from lash.core.errors import (
    ConfigurationError,
    ConflictError,
    LashError,
    ReplayError,
    SessionBusyError,
)
from lash.core.leases import Lease
from lash.runtime.agents import AgentRegistry
from lash.sessions.model import AgentRef, Parked
from lash.sessions.queueing import EnqueueRefused


def busy(session_id: str, holder: Lease) -> SessionBusyError:
    """The error of a session that another live process drives."""
    owner = holder.owner
    return SessionBusyError(
        "session_execution_busy",
        f"Session {session_id!r} is being driven by {owner.owner_id} on {owner.host or 'this host'}; "
        "nothing was accepted. Try again, or send the input to that process.",
        session_id=session_id,
        holder=owner.owner_id,
        host=owner.host,
        incarnation=owner.incarnation,
        expires_at_ms=holder.expires_at_ms,
    )


def missing_agent(ref: AgentRef, agents: AgentRegistry) -> LashError:
    """Why work of an agent that is not registered here has to wait."""
    if ref.name in agents.names:
        return LashError(
            "agent_version_missing",
            f"The turn was accepted by version {ref.version!r} of agent {ref.name!r}, which is not "
            "registered here. It waits; register that version beside the new one until it is done.",
            agent=ref.name,
            version=ref.version,
        )
    return LashError(
        "agent_missing",
        f"The turn belongs to agent {ref.name!r}, which is not registered here. It waits for a "
        "runtime that has the agent.",
        agent=ref.name,
        version=ref.version,
    )


#: What goes on as soon as an agent comes, and what trying again cannot help: the code has to change.
_WAITING_FOR_AGENT = frozenset({"agent_missing", "agent_version_missing"})
_WAITING_FOR_PERSON = frozenset(
    {
        "await_event_unknown_or_revoked",
        "runtime_effect_wrong_outcome",
        "tool_batch_result_count_mismatch",
        "turn_commit_conflict",
    }
)


def parks(error: LashError) -> bool:
    """Whether a turn that met this error does not go on by itself."""
    listed = error.code in _WAITING_FOR_AGENT | _WAITING_FOR_PERSON
    return listed or isinstance(error, ReplayError | ConfigurationError)


def parked_for(error: LashError) -> Parked:
    """The reason that is kept with a turn that does not go on by itself."""
    missing = error.code in _WAITING_FOR_AGENT
    return Parked(
        code=error.code, message=error.message, waits_for="agent" if missing else "person"
    )


def blocked(session_id: str, turn_id: str, parked: Parked | None) -> LashError:
    """Why a session with a parked turn takes nothing new."""
    code = parked.code if parked else "effect_replay_mismatch"
    reason = parked.message if parked else ""
    kind = ReplayError if code.startswith("effect_") else LashError
    return kind(
        code,
        f"Session {session_id!r} is blocked by turn {turn_id!r}, which needs a person: {reason} "
        "Nothing was accepted.",
        session_id=session_id,
        turn_id=turn_id,
    )


def behind(error: Exception, turn_id: str) -> Exception:
    """What a turn is told that waits behind the one that cannot go on."""
    if not isinstance(error, LashError):
        return error
    return type(error)(
        error.code,
        f"The input was accepted and waits behind turn {turn_id!r}, which cannot go on: "
        f"{error.message} Do not send it again.",
        **{**error.details, "waits_behind": turn_id},
    )


def deleted(session_id: str) -> ConflictError:
    """The error of a session that was deleted."""
    return ConflictError(
        "session_deleted",
        f"Session {session_id!r} was deleted and its id is not used again; nothing was accepted. Use "
        "another session id.",
        session_id=session_id,
    )


def provider_differs(session_id: str, recorded: str, given: str) -> ConflictError:
    """The error of a session whose history another provider made."""
    return ConflictError(
        "provider_mismatch",
        f"Session {session_id!r} was made with provider {recorded!r}, and its agent's model is now "
        f"{given!r}'s, which cannot read what the other keeps with its messages; nothing was accepted. "
        "Say session.configure(model=…) to go over to another provider on purpose.",
        session_id=session_id,
        recorded=recorded,
        given=given,
    )


def enqueue_refused(session_id: str, refused: EnqueueRefused) -> LashError:
    """The error of input that a session's queue did not take."""
    known = {
        "turn_input_conflict",
        "session_agent_mismatch",
        "session_deleted",
        "provider_mismatch",
    }
    kind = ConflictError if refused.code in known else LashError
    return kind(refused.code, refused.message, session_id=session_id)


def interrupted(turn_id: str) -> LashError:
    """The error of a drive that was cancelled although nobody asked for it."""
    return LashError(
        "effect_panicked",
        f"Driving turn {turn_id!r} was cancelled from inside, by something it waited for. The turn "
        "stays accepted and is tried again.",
        turn_id=turn_id,
    )


def torn_down(error: BaseException) -> LashError:
    """The error of turns whose drive was torn down by something that is no ordinary exception."""
    return LashError(
        "effect_panicked",
        f"Driving the session was torn down by {type(error).__name__}. Its turns stay accepted and "
        "resume when a runtime opens the store.",
    )


def closed() -> LashError:
    """What those are told who wait when their runtime closes."""
    return LashError(
        "runtime_closed",
        "The runtime was closed before the turn was committed. The input is kept; the turn "
        "resumes when a runtime opens the store.",
    )
