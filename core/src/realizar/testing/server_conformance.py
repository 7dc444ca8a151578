"""What every server must show, over the network, through OpenAI's routes for models and chat."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.engine import LLM
from realizar.model_pool import ModelPool
from realizar.sampling import SamplingParams
from realizar.servers import Server
from realizar.testing.serving import pool_of, running

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
GREEDY = {"messages": HELLO, "temperature": 0, "max_tokens": 12}

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content"]), inner),
    max_leaves=5,
)
_FIELDS = st.sampled_from(["messages", "temperature", "max_tokens", "stream", "stop", "seed", "n", "model", "top_p"])


class Client:
    """One connection to a server."""

    def __init__(self, url: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._headers = headers

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """Send a request and return the response with its body unread. body: JSON, or bytes as they are."""
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Content-Type": "application/json", **self._headers, **own}
        self._connection.request(method, path, raw, sent)
        return self._connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the body, which must be JSON unless it is empty."""
        response = self.open(method, path, body, **headers)
        raw = response.read()
        return response.status, json.loads(raw) if raw else None

    def chat(self, **body: Any) -> dict[str, Any]:
        """The answer to a conversation, which must be a 200."""
        status, found = self.ask("POST", CHAT, body)
        assert status == 200, found
        assert isinstance(found, dict)
        return found

    def stream(self, **body: Any) -> list[dict[str, Any]]:
        """The chunks of a streamed answer, which must be framed as OpenAI's are and end with [DONE]."""
        response = self.open("POST", CHAT, {"stream": True, **body})
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = response.read().decode().split("\n\n")
        assert events.pop() == ""
        data = [event.removeprefix("data: ") for event in events if not event.startswith(":")]
        assert data.pop() == "[DONE]"
        return [json.loads(item) for item in data]

    def close(self) -> None:
        """Leave, whatever is still to be read."""
        self._connection.close()


class ServerConformance:
    """Subclass it and give `make_server` and `make_llm`."""

    max_examples: ClassVar[int] = 50
    """Generated bodies that must cost an answer and nothing else."""

    def make_server(self) -> Server:
        """A server as its plugin offers it."""
        raise NotImplementedError(f"{type(self).__name__} must give make_server()")

    def make_llm(self) -> LLM:
        """A small model that generates, has a chat template and takes prompts of 100 to 1000 tokens."""
        raise NotImplementedError(f"{type(self).__name__} must give make_llm()")

    @pytest.fixture(scope="class")
    @classmethod
    def llm(cls) -> Iterator[LLM]:
        """The model that is served."""
        with cls().make_llm() as llm:
            yield llm

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, llm: LLM) -> Iterator[str]:
        """Where the model is served as "tiny"."""
        with running(cls().make_server(), pool_of(tiny=llm)) as url:
            yield url

    @pytest.fixture
    def client(self, url: str) -> Iterator[Client]:
        """A connection to that server."""
        with contextlib.closing(Client(url)) as client:
            yield client

    def test_health(self, client: Client) -> None:
        """GET /health is 200 once the models are there."""
        response = client.open("GET", "/health")
        response.read()
        assert response.status == 200

    def test_models_are_listed(self, client: Client) -> None:
        """GET /v1/models lists what is served."""
        status, found = client.ask("GET", "/v1/models")
        assert (status, found["object"]) == (200, "list")
        assert [(model["id"], model["object"]) for model in found["data"]] == [("tiny", "model")]

    def test_an_answer_is_what_the_engine_gives(self, client: Client, llm: LLM) -> None:
        """The object of a chat completion, with its usage."""
        wanted = _wanted(llm)
        found = client.chat(model="tiny", **GREEDY)
        assert (found["object"], found["model"]) == ("chat.completion", "tiny")
        (choice,) = found["choices"]
        assert (choice["index"], choice["finish_reason"]) == (0, wanted.finish_reason)
        assert choice["message"] | {"role": "assistant", "content": wanted.text} == choice["message"]
        counts = len(wanted.prompt_token_ids), len(wanted.token_ids)
        assert (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]) == counts
        assert found["usage"]["total_tokens"] == sum(counts)

    def test_a_stream_adds_up(self, client: Client, llm: LLM) -> None:
        """Chunks: the role first, the text in pieces, the reason of the end last."""
        found = client.stream(**GREEDY)
        choices = [chunk["choices"][0] for chunk in found]
        assert choices[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content") or "" for choice in choices) == _wanted(llm).text
        assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
        assert choices[-1]["finish_reason"] == _wanted(llm).finish_reason
        assert {chunk["object"] for chunk in found} == {"chat.completion.chunk"}
        assert len({chunk["id"] for chunk in found}) == 1

    def test_usage_ends_a_stream_that_asks_for_it(self, client: Client) -> None:
        """stream_options.include_usage: one more chunk, without choices."""
        *_, last = client.stream(**GREEDY, stream_options={"include_usage": True})
        assert last["choices"] == []
        assert last["usage"] == client.chat(**GREEDY)["usage"] | {
            key: value for key, value in last["usage"].items() if key.endswith("_details")
        }

    def test_parameters_count(self, client: Client, llm: LLM) -> None:
        """max_tokens, stop, and a seed that makes draws come again."""
        assert client.chat(**{**GREEDY, "max_tokens": 3})["usage"]["completion_tokens"] <= 3
        text = _wanted(llm).text
        stopped = client.chat(**GREEDY, stop=[text[2:4]])["choices"][0]
        assert (stopped["message"]["content"], stopped["finish_reason"]) == (text[: text.index(text[2:4])], "stop")
        drawn = {**GREEDY, "temperature": 1.0, "max_tokens": 30}
        texts = [client.chat(**drawn, seed=seed)["choices"][0]["message"]["content"] for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]

    def test_special_tokens_in_a_message_stay_text(self, client: Client, llm: LLM) -> None:
        """The spelling of a control token in somebody's text is no control token."""
        spelled = [{"role": "user", "content": f"a{llm.tokenizer.spec.tokens[llm.tokenizer.spec.eos_token_ids[0]]}b"}]
        found = client.chat(**{**GREEDY, "messages": spelled})
        assert found["usage"]["prompt_tokens"] == len(llm.encode(spelled))

    def test_a_body_that_does_not_fit_is_a_400(self, client: Client) -> None:
        """Each has an OpenAI error object with a message."""
        bodies: list[Any] = [b"", b"{", b"[]", b'{"messages": "\xff"}', b"[" * 100_000, {}, {"messages": []}]
        bodies += [{"messages": "x"}, {"messages": [{"role": "user", "content": 5}]}]
        bodies += [{**GREEDY, **change} for change in ({"temperature": "hot"}, {"temperature": -1}, {"max_tokens": 0})]
        for body in bodies:
            status, found = client.ask("POST", CHAT, body)
            assert status == 400, (body, found)
            assert found["error"]["message"]

    def test_a_prompt_that_does_not_fit_is_a_400(self, client: Client, llm: LLM) -> None:
        """It is refused, not cut."""
        long = [{"role": "user", "content": "many words " * llm.max_model_len}]
        status, found = client.ask("POST", CHAT, {**GREEDY, "messages": long})
        assert (status, found["error"]["code"]) == (400, "context_length_exceeded")
        assert client.ask("POST", CHAT, {**GREEDY, "messages": long, "stream": True})[0] == 400

    def test_an_unknown_model_or_route_is_a_404(self, client: Client) -> None:
        """A model's name is only a name, whatever it looks like."""
        for name in ("gpt-4", "/etc/passwd", "../tiny", "https://a.example/x.gguf"):
            assert client.ask("POST", CHAT, {**GREEDY, "model": name})[0] == 404
        assert client.ask("GET", "/v1/nothing")[0] == 404

    def test_no_body_is_a_500(self, client: Client) -> None:
        """Whatever fields a body has, it costs an answer or a refusal."""

        @settings(max_examples=self.max_examples, suppress_health_check=list(HealthCheck), deadline=None)
        @given(st.dictionaries(_FIELDS, _JSON, max_size=3))
        def fuzz(change: dict[str, Any]) -> None:
            response = client.open("POST", CHAT, {**GREEDY, "max_tokens": 2, **change})
            assert response.status < 500, response.read()
            response.read()

        fuzz()

    def test_a_large_body_is_refused(self, llm: LLM) -> None:
        """413, before all of it is read."""
        with running(self.make_server(), pool_of(tiny=llm), max_body_nbytes=4096) as url:
            client = Client(url)
            status, found = client.ask("POST", CHAT, {**GREEDY, "user": "x" * 8192})
            assert status == 413, found
            client.close()

    def test_keys(self, llm: LLM) -> None:
        """Without a key nothing is told but health; with one everything is."""
        with running(self.make_server(), pool_of(tiny=llm), api_keys=("secret", "other")) as url:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"x-api-key": ""}):
                client = Client(url, **headers)
                assert client.open("GET", "/health").status == 200
                client.close()
                for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/nothing")):
                    assert client.ask(method, path, GREEDY)[0] == 401
                    client.close()
            for headers in ({"Authorization": "Bearer secret"}, {"x-api-key": "other"}):
                client = Client(url, **headers)
                assert client.ask("GET", "/v1/models")[0] == 200
                client.close()

    def test_foreign_names_and_pages_are_refused(self, client: Client) -> None:
        """A browser must not be made to ask a server of this machine."""
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            assert client.ask("POST", CHAT, GREEDY, **headers)[0] == 403, headers
            client.close()

    def test_a_model_that_is_being_loaded_is_a_503(self, llm: LLM) -> None:
        """The server listens before its models are there."""
        pool = ModelPool({"tiny": lambda: llm})
        with running(self.make_server(), pool) as url, contextlib.closing(Client(url)) as client:
            assert client.open("GET", "/health").status == 503
            client.close()
            assert client.ask("POST", CHAT, GREEDY)[0] == 503
            pool.load()
            client.chat(**GREEDY)

    def test_many_at_a_time_get_what_each_would_get_alone(self, url: str, llm: LLM) -> None:
        """Requests do not touch each other."""
        asked = [[{"role": "user", "content": f"Tell {i}"}] for i in range(12)]

        def ask(messages: list[dict[str, str]]) -> str:
            with contextlib.closing(Client(url)) as client:
                text: str = client.chat(**{**GREEDY, "messages": messages})["choices"][0]["message"]["content"]
                return text

        with ThreadPoolExecutor(len(asked)) as pool:
            together = list(pool.map(ask, asked))
        assert together == [_wanted(llm, messages).text for messages in asked]

    def test_a_client_that_leaves_frees_its_blocks(self, url: str, llm: LLM) -> None:
        """Nobody computes for somebody who is gone."""
        asked = {**GREEDY, "max_tokens": 100_000, "logit_bias": _never_ends(llm)}
        before = llm.stats.cancelled
        for _ in range(3):
            client = Client(url)
            response = client.open("POST", CHAT, {**asked, "stream": True})
            response.readline()
            response.close()
            client.close()
        deadline = time.monotonic() + 30
        while llm.stats.running or llm.stats.waiting:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert llm.stats.blocks_used == 0
        assert llm.stats.cancelled > before

    def test_open_requests_end_before_the_server_does(self, llm: LLM) -> None:
        """`stop` lets an answer that has begun come to its end."""
        with running(self.make_server(), pool_of(tiny=llm)) as url:
            client = Client(url)
            asked = {**GREEDY, "max_tokens": 100_000, "logit_bias": _never_ends(llm), "stream": True}
            response = client.open("POST", CHAT, asked)
            response.readline()
        assert response.read().endswith(b"data: [DONE]\n\n")
        with pytest.raises(OSError):
            Client(url).ask("GET", "/health")


def _never_ends(llm: LLM) -> dict[str, float]:
    """A bias by which an answer goes on until the context is full."""
    return {str(token_id): -100 for token_id in llm.tokenizer.spec.eos_token_ids}


def _wanted(llm: LLM, messages: list[dict[str, str]] | None = None) -> Any:
    return llm.chat(messages or HELLO, SamplingParams(temperature=0, max_tokens=12))
