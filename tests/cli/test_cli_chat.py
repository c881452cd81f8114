"""`lash chat` in a real terminal: what is typed, what is seen, and what the database holds afterwards."""

import asyncio
import signal
import termios
from pathlib import Path

import pytest
from cli_harness import Ended, start
from cli_harness import lash as run_lash
from recorded_turns import until
from terminal import CTRL_C, CTRL_D, ESC, TAB, Terminal

import lash
from lash.cli import main
from lash.core.clock import SystemClock
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel
from lash.turn.outcome import Cancelled, Stopped

pytestmark = pytest.mark.slow

#: The tool waits for a file, which the test makes; the answers tell what the model was asked.
APP = '''
import asyncio
import os
import pathlib
import lash
from lash.llm.request import TextBlock
from lash.llm.response import ProviderFailure
from lash.llm.stream import TextDelta
from lash.testing import ScriptedModel, calls, fail, reply

@lash.tool
async def dig(place: str) -> str:
    """Dig until something turns up."""
    with open("started", "a") as log:
        log.write(place + "\\n")
    while not pathlib.Path("found").exists():
        await asyncio.sleep(0.005)
    return "a coin"

def answer(request):
    said = []
    for message in request.messages[request.history.count:]:
        if message.role == "user":
            said += [block.text for block in message.blocks if isinstance(block, TextBlock)]
    worked = any(message.role == "assistant" for message in request.messages[request.history.count:])
    if said[0] == "Dig." and not worked:
        return calls(("dig", {"place": "here"}), text="Digging now.")
    if said[0] == "Long.":
        return reply(" ".join(f"word{number}" for number in range(40)))
    return reply("Heard: " + " | ".join(said))

class Spade(ScriptedModel):
    async def complete(self, request, emit):
        if "Stumble." in str(request.messages[-1]) and not pathlib.Path("seen").exists():
            emit(TextDelta(text="Half an answer"))
            while not pathlib.Path("seen").exists():
                await asyncio.sleep(0.005)
            raise ProviderFailure(fail(status=429, retry_after=0.01).failure)
        return await super().complete(request, emit)

digger = lash.Agent("digger", model=Spade(answer, name="spade"), tools=[dig])
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def chatting(place: Path, *more: str, columns: int = 100) -> Terminal:
    return Terminal("chat", "c-1", "--app", "app:digger", *more, cwd=place, columns=columns)


def opened(chat: Terminal) -> Terminal:
    chat.see("/help tells the commands")
    chat.see("c-1 · Enter: send")
    return chat


def started(chat: Terminal, place: Path, times: int = 1) -> None:
    """Wait until the tool really runs."""
    log = place / "started"
    chat.see("[tool] dig · running")
    chat.until(lambda: log.exists() and log.read_text().count("here") >= times, "the tool at work")


def texts(place: Path, session: str = "c-1") -> list[tuple[str, str]]:
    async def load() -> list[tuple[str, str]]:
        agent = lash.Agent("digger", model=ScriptedModel([]))
        async with lash.Runtime(place / "lash.db", agents=[agent]) as runtime:
            history = await runtime.session(session).history()
            return [(message.role, message.text) for message in history if message.text]

    return asyncio.run(load())


def test_an_answer_is_shown_with_its_usage_and_stays_in_the_session(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Hello.")
        chat.see("Heard: Hello.")
        chat.see("[usage] 10 in · 5 out · ")
        chat.type(CTRL_D)
        assert chat.ended() == 0
        assert chat.screen.lines.count("> Hello.") == 1
        assert chat.screen.lines.count("Heard: Hello.") == 1
    assert texts(place) == [("user", "Hello."), ("assistant", "Heard: Hello.")]


def test_enter_brings_a_line_into_the_turn_that_runs(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        assert "Digging now." in chat.screen.lines
        chat.say("Deeper!")
        chat.see("for this turn: Deeper!")
        (place / "found").touch()
        chat.see("Heard: Dig. | ")
        chat.see("[usage]")
        lines = chat.screen.lines
        tool = next(line for line in lines if line.startswith("[tool] dig · ok · "))
        assert tool.endswith('place="here"')
        assert lines.index(tool) < lines.index("> Deeper!")
        assert sum(line.startswith("[usage]") for line in lines) == 1
        chat.say("/quit")
        assert chat.ended() == 0
    assert [text for role, text in texts(place) if role == "user"] == ["Dig.", "Deeper!"]


def test_tab_queues_a_line_for_a_turn_of_its_own(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        chat.write("Later.")
        chat.type(TAB)
        chat.see("for the next turn: Later.")
        chat.say("/queue")
        chat.see("1. for the next turn: Later.")
        (place / "found").touch()
        chat.see("Heard: Later.")
        chat.see("[usage]", times=2)
        lines = chat.screen.lines
        first = next(at for at, line in enumerate(lines) if line.startswith("[usage]"))
        assert first < lines.index("> Later.") < lines.index("Heard: Later.")
        chat.type(CTRL_D)
        assert chat.ended() == 0


def test_tab_begins_a_turn_when_none_runs(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.write("Now.")
        chat.type(TAB)
        chat.see("Heard: Now.")
        chat.see("[usage]")
        assert chat.screen.lines.count("> Now.") == 1
        chat.type(CTRL_D)
        assert chat.ended() == 0


def test_a_queued_line_can_be_taken_back(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        chat.write("Never mind.")
        chat.type(TAB)
        chat.see("for the next turn: Never mind.")
        chat.say("/queue drop 2")
        chat.see("[error] there are 1 to drop")
        chat.say("/queue drop 1")
        chat.see("[queue] taken back: Never mind.")
        (place / "found").touch()
        chat.see("[usage]")
        chat.type(CTRL_D)
        assert chat.ended() == 0
        assert "[error] The input" not in chat.screen.text
    assert [text for role, text in texts(place) if role == "user"] == ["Dig."]


@pytest.mark.parametrize("key", [ESC, CTRL_C], ids=["esc", "ctrl-c"])
def test_a_turn_is_stopped_and_committed_as_cancelled(place: Path, key: str) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        chat.type(key)
        chat.see("[cancelled] by lash chat: stopped at the keyboard")
        chat.see("[usage]")
        chat.say("Still there?")
        chat.see("Heard: Still there?")
        chat.see("[usage]", times=2)
        chat.type(CTRL_D)
        assert chat.ended() == 0

    async def load() -> tuple[object, ...]:
        store = SqliteStore(place / "lash.db", SystemClock(asyncio.sleep))
        turns = await store.list_turns("c-1")
        await store.aclose()
        return tuple(turn.outcome for turn in turns)

    stopped, _ = asyncio.run(load())
    assert isinstance(stopped, Stopped)
    assert isinstance(stopped.reason, Cancelled)
    assert stopped.reason.origin == "lash chat"


def test_ctrl_c_twice_leaves_and_the_turn_is_told_of(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.type(CTRL_C)
        chat.see("Ctrl-C again leaves.")
        chat.type(CTRL_C)
        assert chat.ended() == 130


def test_a_turn_that_was_stopped_is_committed_before_the_chat_is_left(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        chat.type(CTRL_C)
        chat.see("Ctrl-C again leaves.")
        chat.type(CTRL_C)
        assert chat.ended() == 130
    assert texts(place)[0] == ("user", "Dig.")


def test_a_turn_that_is_left_stays_accepted(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        chat.say("/quit")
        assert chat.ended() == 0
        assert "[left] what was accepted stays so" in chat.screen.text
    assert main(["show", "c-1", "--json", "--db", str(place / "lash.db")]) == 0


def test_a_chat_that_is_terminated_leaves_the_terminal_in_order(place: Path) -> None:
    with opened(chatting(place)) as chat:
        before = chat.modes()
        chat.signal(signal.SIGTERM)
        assert chat.ended() == 130
        assert not before & termios.ICANON
        assert chat.modes() & termios.ICANON


def test_a_key_between_two_ctrl_c_disarms_the_first(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.type(CTRL_C)
        chat.see("Ctrl-C again leaves.")
        chat.say("Hello.")
        chat.see("[usage]")
        chat.type(CTRL_C)
        chat.see("Ctrl-C again leaves.", times=2)
        chat.say("/quit")
        assert chat.ended() == 0


def test_an_answer_that_broke_off_is_taken_back(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Stumble.")
        chat.see("Half an answer")
        (place / "seen").touch()
        chat.see("[retry] the answer broke off and was taken back")
        chat.see("[retry] attempt 2 of 4 in ")
        chat.see("Heard: Stumble.")
        chat.see("[usage]")
        assert "Half an answer" not in chat.screen.text
        chat.type(CTRL_D)
        assert chat.ended() == 0


def test_a_fork_goes_on_with_the_history_in_a_session_of_its_own(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("One.")
        chat.see("[usage]")
        chat.say("/fork side")
        chat.see("[fork] side goes on from c-1")
        chat.see("side · Enter: send")
        chat.say("Two.")
        chat.see("Heard: Two.")
        chat.see("[usage]", times=2)
        chat.say("/history")
        chat.see("assistant: Heard: One.")
        chat.see("assistant: Heard: Two.")
        chat.type(CTRL_D)
        assert chat.ended() == 0
    assert [text for _, text in texts(place)] == ["One.", "Heard: One."]
    forked = ["One.", "Heard: One.", "Two.", "Heard: Two."]
    assert [text for _, text in texts(place, "side")] == forked


def test_usage_model_and_unknown_commands_are_answered(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("/usage")
        chat.see("total · 0 in · 0 out")
        chat.say("/model")
        chat.see("[model] scripted:spade (the agent's)")
        chat.say("/model nowhere:fast")
        chat.see("[provider_unknown]")
        chat.say("/nonsense")
        chat.see("[error] there is no command /nonsense")
        chat.say("//slash")
        chat.see("Heard: /slash")
        chat.see("[usage]")
        chat.say("/usage")
        chat.see("turn · scripted:spade · 10 in · 5 out")
        chat.type(CTRL_D)
        assert chat.ended() == 0


def test_another_model_holds_from_then_on(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("/model openai:gpt-5.2")
        chat.see("[provider_not_configured]")
        chat.type(CTRL_D)
        assert chat.ended() == 0
    with Terminal(
        "chat", "c-1", "--app", "app:digger", cwd=place, env={"OPENAI_API_KEY": "none"}
    ) as chat:
        opened(chat)
        chat.say("/model openai:gpt-5.2")
        chat.see("[model] openai:gpt-5.2 (the session's)")
        chat.say("/model -")
        chat.see("[model] scripted:spade (the agent's)")
        chat.type(CTRL_D)
        assert chat.ended() == 0


def test_compacting_goes_on_with_a_summary(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("One.")
        chat.see("[usage]")
        chat.say("/compact")
        chat.see("[compact] done")
        chat.say("/usage")
        chat.see("compaction · scripted:spade · 10 in · 5 out")
        chat.type(CTRL_D)
        assert chat.ended() == 0


def test_a_narrower_terminal_shows_everything(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        chat.resize(40, 20)
        chat.see("\n[tool] dig · running")
        chat.until(lambda: all(len(line) <= 40 for line in chat.screen.lines[-3:]), "40 columns")
        (place / "found").touch()
        chat.see("[usage]")
        before = len(chat.screen.lines)
        chat.say("Long.")
        chat.see("[usage]", times=2)
        shown = "".join(line.ljust(40) for line in chat.screen.lines[before - 3 :])
        whole = " ".join(f"word{number}" for number in range(40))
        assert whole in shown
        chat.type(CTRL_D)
        assert chat.ended() == 0


def test_a_turn_whose_process_was_killed_is_resumed(place: Path) -> None:
    with opened(chatting(place)) as chat:
        chat.say("Dig.")
        started(chat, place)
        chat.kill()
    with chatting(place) as chat:
        chat.see("[resume] turn ")
        chat.see("was left unfinished: it is resumed")
        started(chat, place, times=2)
        (place / "found").touch()
        chat.see("Heard: Dig.")
        chat.see("[usage]")
        assert chat.screen.lines.count("> Dig.") == 1
        chat.type(CTRL_D)
        assert chat.ended() == 0
    assert [text for role, text in texts(place) if role == "user"] == ["Dig."]


def test_a_line_goes_into_the_turn_that_another_process_drives(place: Path) -> None:
    with opened(chatting(place)) as one:
        one.say("Dig.")
        started(one, place)
        with chatting(place) as other:
            other.see("runs in another process")
            other.see("Esc: stop")
            other.say("And here?")
            other.see("for this turn: And here?")
            (place / "found").touch()
            other.see("[tool] dig · ok")
            other.see("[usage]")
            assert other.screen.lines.count("> And here?") == 1
            for chat in (other, one):
                chat.type(CTRL_D)
                assert chat.ended() == 0
    assert [text for role, text in texts(place) if role == "user"] == ["Dig.", "And here?"]


def test_a_line_is_queued_when_another_process_has_begun_a_turn(place: Path) -> None:
    with opened(chatting(place)) as one, opened(chatting(place)) as other:
        one.say("Dig.")
        started(one, place)
        other.say("And here?")
        other.see("[queue] another process drives this session")
        (place / "found").touch()
        other.see("Heard: And here?")
        other.see("[usage]", times=2)
        for chat in (other, one):
            chat.type(CTRL_D)
            assert chat.ended() == 0
    assert [text for role, text in texts(place) if role == "user"] == ["Dig.", "And here?"]


def test_a_turn_of_another_process_is_stopped_from_here(place: Path) -> None:
    with opened(chatting(place)) as one:
        one.say("Dig.")
        started(one, place)
        with chatting(place) as other:
            other.see("Esc: stop")
            other.type(ESC)
            other.see("[stop] turn ")
            other.see("[cancelled] by lash chat")
            one.see("[cancelled] by lash chat")


def test_a_missing_library_is_said_so(place: Path) -> None:
    hidden = "import sys\nsys.modules['prompt_toolkit'] = None\nimport importlib.util as u\n"
    hidden += "real = u.find_spec\nu.find_spec = lambda name, *a: None if name == 'prompt_toolkit' else real(name, *a)\n"
    (place / "sitecustomize.py").write_text(hidden)
    with Terminal("chat", "--app", "app", cwd=place, env={"PYTHONPATH": str(place)}) as chat:
        assert chat.ended() == 2
        assert "pip install 'lash-runtime[chat]'" in chat.screen.text.replace("\n", " ")
        assert "[chat_not_installed]" in chat.screen.text


# --- without a terminal ----------------------------------------------------------------------------


async def piped(place: Path, told: str, *more: str) -> Ended:
    return await run_lash("chat", "c-1", "--app", "app", *more, cwd=place, told=told)


async def test_every_line_of_a_pipe_is_a_turn_and_nothing_is_escaped(place: Path) -> None:
    ended = await piped(place, "One.\n\n/usage\nTwo.")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "Heard: One.",
        "turn · scripted:spade · 10 in · 5 out",
        "total · 10 in · 5 out",
        "Heard: Two.",
    ]
    assert sum(line.startswith("[usage] 10 in · 5 out") for line in ended.err.splitlines()) == 2
    assert "\x1b" not in ended.out + ended.err


async def test_lines_behind_quit_are_not_sent_and_a_fork_takes_the_rest(place: Path) -> None:
    ended = await piped(place, "One.\n/fork\nTwo.\n/quit\nThree.\n")
    assert ended.code == 0
    assert "[fork] c-1-2 goes on from c-1" in ended.out
    assert ended.out.endswith("Heard: Two.\n")


async def test_a_pipe_ends_with_1_when_a_line_came_to_nothing(place: Path) -> None:
    (place / "app.py").write_text(APP.replace("reply(", "fail(status=400, message="))
    ended = await piped(place, "One.\n")
    assert ended.code == 1
    assert "[stopped (provider_error)]" in ended.err


async def test_a_pipe_finishes_first_what_was_left(place: Path) -> None:
    command = await start("chat", "c-1", "--app", "app", cwd=place, stdin=asyncio.subprocess.PIPE)
    ending = asyncio.create_task(command.ended("Dig.\n"))
    await until((place / "started").exists)
    command.kill()
    assert (await ending).code == -signal.SIGKILL
    (place / "found").touch()
    again = await piped(place, "And now?\n")
    assert (again.code, again.out) == (0, "Heard: And now?\n")
    shown = await run_lash("show", "c-1", "--json", cwd=place)
    assert [turn["text"] for turn in shown.json["turns"]] == ["Heard: Dig.", "Heard: And now?"]


async def test_without_an_app_the_plain_agent_answers(place: Path) -> None:
    told = await run_lash("chat", "--model", "scripted", cwd=place, told="Hello?\n")
    assert told.code == 0
    assert told.out.endswith("You said: Hello?\n")


async def test_an_interrupted_pipe_ends_with_130(place: Path) -> None:
    command = await start("chat", "--app", "app", cwd=place, stdin=asyncio.subprocess.PIPE)
    await until((place / "lash.db-wal").exists)
    command.interrupt()
    assert (await command.ended()).code == 130


async def test_an_agent_that_nobody_has_is_said_so_before_any_line(place: Path) -> None:
    unknown = await piped(place, "One.\n", "--agent", "miner")
    assert (unknown.code, unknown.out) == (2, "")
    assert "[agent_unknown]" in unknown.err
    (place / "app.py").write_text(APP + '\nother = lash.Agent("other", model="openai:x")\n')
    ambiguous = await run_lash(
        "chat", "--app", "app", cwd=place, told="One.\n", env={"OPENAI_API_KEY": "none"}
    )
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert "[agent_ambiguous]" in ambiguous.err
