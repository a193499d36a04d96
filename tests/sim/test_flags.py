"""The command line of the scripted `claude`: what it takes, and that it refuses the rest as the real one does."""

import pytest

from orchestrator.sim.flags import Flags, read_flags


def test_every_form_of_a_flag_is_taken() -> None:
    argv = ["-p", "--tools", "Bash,Read", "Edit", "--allowedTools", "Write(./**)", "--setting-sources", ""]
    argv += ["--model=haiku", "--json-schema", '{"a": 1}', "--input-format", "stream-json", "--strict-mcp-config"]
    tools = ("Bash,Read", "Edit", "Write(./**)")
    wanted = Flags(print=True, tools=tools, model="haiku", json_schema={"a": 1}, input_format="stream-json")
    assert read_flags(argv) == wanted


@pytest.mark.parametrize(
    "argv",
    [
        ["--unknown"],
        ["-x"],
        ["--"],
        ["a prompt"],
        ["model", "opus"],
        ["--session_id", "x"],
        ["--model"],
        ["--model", "opus", "sonnet"],
        ["--model", "--print"],
        ["--print", "a prompt"],
        ["--verbose=yes"],
        ["--tools"],
        ["--output-format", "yaml"],
        ["--json-schema", "{"],
    ],
)
def test_any_other_is_refused_with_the_reason_on_stderr(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        read_flags(argv)
    assert refused.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
