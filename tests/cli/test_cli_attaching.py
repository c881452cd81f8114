"""`lash run --attach` and what `lash show` tells of attachments."""

from pathlib import Path

from cli_harness import lash

from lash.testing.openai_server import Answer, OpenAIServer

#: The first bytes of a PNG, and what they are in base64.
PNG = b"\x89PNG\r\n\x1a\n"
PNG_URL = "data:image/png;base64,iVBORw0KGgo="


async def test_files_are_shown_to_the_model_and_named_by_show(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "notes.md").write_text("# Hi")
    async with OpenAIServer([Answer("A cat.")]) as server:
        env = {"OPENAI_API_KEY": "secret-key", "OPENAI_BASE_URL": server.base_url}
        attached = ("--attach", "cat.png", "--attach", "notes.md")
        ended = await lash("run", "What is it?", *attached, cwd=tmp_path, env=env)
        assert (ended.code, ended.out) == (0, "A cat.\n")
        assert server.requests[0].body["messages"] == [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": PNG_URL}},
                    {"type": "text", "text": "[attachment notes.md: text/markdown, 4 bytes]\n# Hi"},
                ],
            }
        ]
    shown = await lash("show", "default", cwd=tmp_path)
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "user What is it?" in lines
    assert "attached [attachment cat.png: image/png, 8 bytes]" in lines
    assert "attached [attachment notes.md: text/markdown, 4 bytes]" in lines


async def test_a_file_that_is_not_there_is_an_error_and_nothing_is_sent(tmp_path: Path) -> None:
    ended = await lash(
        "run", "What is it?", "--model", "scripted", "--attach", "nothing.png", cwd=tmp_path
    )
    assert ended.code == 1
    assert "nothing.png" in ended.err
    shown = await lash("sessions", "--json", cwd=tmp_path)
    assert '"sessions": []' in " ".join(shown.out.split())
