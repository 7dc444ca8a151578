"""Calls, reasoning and formats as the official clients of OpenAI, Anthropic and Ollama read them.

The model is scripted, so that what it says is known; the server is the whole one, in a thread.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from realizar.engine import LLM
from realizar.plugins import host
from realizar.testing.conversations import ARGUMENTS, FORMATS, HELLO, PARAMETERS, THINKING, TOOLS
from realizar.testing.serving import pool_of, running

openai = pytest.importorskip("openai", reason="the openai client is not installed")
anthropic = pytest.importorskip("anthropic", reason="the anthropic client is not installed")
ollama = pytest.importorskip("ollama", reason="the ollama client is not installed")
pydantic = pytest.importorskip("pydantic", reason="pydantic, which the clients need, is not installed")

SAID = f"<think>\nHm.\n</think>\n\n{FORMATS['hermes'][1]}"
GIVEN = [{"name": "weather", "input_schema": PARAMETERS}]
BAD = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
GREEDY: dict[str, Any] = {"model": "scripted", "messages": HELLO, "max_tokens": 400}


@pytest.fixture(scope="module")
def served(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The URL of a server, and what sets the next answer of its model."""
    from realizar_aiohttp.server import AiohttpServer

    folder = tmp_path_factory.mktemp("installed")
    source = root / "plugins/servers/aiohttp/tests/tiny_plugin.py"
    (folder / "scripted_oracle_plugin.py").write_text(source.read_text())
    info = folder / "realizar_scripted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: realizar-scripted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[realizar]\ntiny = scripted_oracle_plugin\n")
    model = folder / "scripted.tiny"
    model.write_text(json.dumps({"chat_template": THINKING, "max_position_embeddings": 2048}))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("REALIZAR_PLUGINS", "tiny,aiohttp")
        host.cache_clear()
        with LLM(model, backend="scripted") as llm, running(AiohttpServer(), pool_of(scripted=llm)) as url:
            yield url, importlib.import_module("scripted_oracle_plugin").say
    host.cache_clear()


@pytest.fixture
def openai_client(served: Any) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{served[0]}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(served: Any) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=served[0], api_key="none", max_retries=0) as client:
        yield client


def test_openai_calls_whole_and_streamed(served, openai_client):
    say = served[1]
    say(SAID)
    (choice,) = openai_client.chat.completions.create(**GREEDY, tools=TOOLS, temperature=0).choices
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", ARGUMENTS)
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.reasoning_content == "Hm."
    say(SAID)
    with openai_client.chat.completions.stream(**GREEDY, tools=TOOLS, temperature=0) as stream:
        kinds = {event.type for event in stream}
        (streamed,) = stream.get_final_completion().choices
    assert json.loads(streamed.message.tool_calls[0].function.arguments) == ARGUMENTS
    assert streamed.finish_reason == "tool_calls"
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds


def test_openai_forms_are_parsed_into_classes(served, openai_client):
    class Person(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=6)
        age: int = pydantic.Field(ge=0, le=120)

    parse = openai_client.chat.completions.parse
    found = parse(**GREEDY, response_format=Person, temperature=1, seed=1)
    assert 0 <= found.choices[0].message.parsed.age <= 120
    tool = openai.pydantic_function_tool(Person, name="person")
    served[1]("<tool_call>")  # where it may think first it does not
    (choice,) = parse(**GREEDY, tools=[tool], tool_choice="required", parallel_tool_calls=False, seed=2).choices
    assert isinstance(choice.message.tool_calls[0].function.parsed_arguments, Person)
    with pytest.raises(openai.BadRequestError, match="#/properties/tags/uniqueItems") as caught:
        form = {"type": "json_schema", "json_schema": {"name": "tags", "schema": BAD}}
        openai_client.chat.completions.create(**GREEDY, response_format=form)
    assert caught.value.param == "response_format.json_schema.schema"


def test_openai_results_go_back(served, openai_client):
    say = served[1]
    say(SAID)
    message = openai_client.chat.completions.create(**GREEDY, tools=TOOLS, temperature=0).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    say("It rains.")
    asked = {**GREEDY, "messages": [*HELLO, message, result]}
    answer = openai_client.chat.completions.create(**asked, tools=TOOLS, temperature=0).choices[0]
    assert (answer.message.content, answer.finish_reason) == ("It rains.", "stop")


def test_anthropic_blocks_whole_and_streamed(served, anthropic_client):
    asked = {**GREEDY, "tools": GIVEN, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    asked["extra_body"] = {"temperature": 0}
    served[1](SAID)
    whole = anthropic_client.messages.create(**asked)
    served[1](SAID)
    with anthropic_client.messages.stream(**asked) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()
    for message in (whole, final):
        thinking, call = message.content
        assert (thinking.thinking, call.type, call.name, call.input) == ("Hm.", "tool_use", "weather", ARGUMENTS)
        assert message.stop_reason == "tool_use"
    assert {"thinking", "input_json"} <= kinds
    result = {"type": "tool_result", "tool_use_id": whole.content[1].id, "content": "rain"}
    served[1]("It rains.")
    turns = [*HELLO, {"role": "assistant", "content": whole.content}, {"role": "user", "content": [result]}]
    assert anthropic_client.messages.create(**{**asked, "messages": turns}).content[0].text == "It rains."


def test_anthropic_calls_that_are_required(served, anthropic_client):
    served[1]("<tool_call>")  # where it may think first it does not
    choice = {"type": "any", "disable_parallel_tool_use": True}
    message = anthropic_client.messages.create(**GREEDY, tools=GIVEN, tool_choice=choice)
    assert len(message.content[-1].input["city"]) <= 8


def test_ollama_calls_reasoning_and_formats(served):
    client = ollama.Client(host=served[0])
    options = {"temperature": 0, "num_predict": 400}
    asked = {"model": "scripted", "messages": HELLO, "tools": TOOLS, "think": True, "options": options}
    served[1](SAID)
    whole = client.chat(**asked).message
    served[1](SAID)
    pieces = [piece.message for piece in client.chat(**asked, stream=True)]
    (call,) = whole.tool_calls
    assert (whole.thinking, call.function.name, dict(call.function.arguments)) == ("Hm.", "weather", ARGUMENTS)
    assert [dict(call.function.arguments) for piece in pieces for call in piece.tool_calls or ()] == [ARGUMENTS]
    assert "".join(piece.thinking or "" for piece in pieces) == "Hm."
    served[1]("It rains.")
    turns = [*HELLO, whole, {"role": "tool", "tool_name": "weather", "content": "rain"}]
    assert client.chat(model="scripted", messages=turns, tools=TOOLS, options=options).message.content == "It rains."
    found = client.chat(model="scripted", messages=HELLO, format=PARAMETERS, options={"num_predict": 200, "seed": 1})
    assert len(json.loads(found.message.content)["city"]) <= 8
