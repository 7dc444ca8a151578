"""The commands on tiny models: what they print, in text and JSON, and what they refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from realizar.cli.main import cli
from realizar.plugins import host
from realizar.sampling import SamplingParams

PLUGIN_KEYS = ["name", "kind", "distribution", "version", "status", "detail", "chosen"]
GREEDY = ("--temperature", "0", "--max-tokens", "5", "--backend", "numpy")


@pytest.fixture
def invoke(plugins):
    """Runs the command in this process as `main` does; returns click's result."""

    def run(*args: object, **options):
        return CliRunner().invoke(cli, [str(arg) for arg in args], **options)

    return run


@pytest.fixture
def succeed(invoke):
    """The standard output of a command that must exit 0."""

    def run(*args: object, **options) -> str:
        result = invoke(*args, **options)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    return run


@pytest.fixture
def model(write_model):
    return write_model()


class TestPlugins:
    """`realizar plugins` and `realizar --list-plugins`."""

    @pytest.mark.parametrize("line", [("--list-plugins", "--json"), ("plugins", "--json")], ids=" ".join)
    def test_json(self, succeed, line):
        listed = json.loads(succeed(*line))
        assert list(listed) == ["api", "plugins"]
        assert listed["api"] == "1.1"
        assert all(list(row) == PLUGIN_KEYS for row in listed["plugins"])
        rows = {(row["kind"], row["name"]): row for row in listed["plugins"]}
        assert rows["backend", "numpy"] == {
            "name": "numpy", "kind": "backend", "distribution": "realizar-core", "version": version("realizar-core"),
            "status": "ok", "detail": "reference in float32, always present", "chosen": True,
        }  # fmt: skip
        assert rows["format", "tiny"]["distribution"] == "realizar-tiny"
        assert rows["format", "tiny"]["version"] == "1.0"
        assert [row["name"] for row in listed["plugins"] if row["chosen"]] == ["numpy"]

    def test_text(self, succeed):
        text = succeed("--list-plugins")
        assert text.splitlines()[0].split() == ["NAME", "KIND", "DISTRIBUTION", "STATUS", "DETAIL"]
        assert any(line.split()[:5] == ["tiny", "format", "realizar-tiny", "1.0", "ok"] for line in text.splitlines())
        assert "(chosen)" in text
        assert "backend numpy would be chosen: highest score 1" in text
        assert succeed("plugins") == text

    def test_strict(self, invoke, monkeypatch):
        assert invoke("--list-plugins", "--strict").exit_code == 0
        monkeypatch.setenv("REALIZAR_PLUGINS", "tiny,absent")
        host.cache_clear()
        assert invoke("--list-plugins").exit_code == 0
        for line in (("--list-plugins", "--strict"), ("plugins", "--strict"), ("plugins", "--strict", "--json")):
            result = invoke(*line)
            assert result.exit_code == 1
            assert "no installed distribution provides it" in result.stdout

    def test_verbose_shows_tracebacks(self, site, monkeypatch):
        site.add("broken", body="raise LookupError('nothing here')\n")
        environ = {k: v for k, v in os.environ.items() if not k.startswith("REALIZAR_")}
        line = [sys.executable, "-m", "realizar", "plugins", "-v"]
        environ |= {"PYTHONPATH": str(site.folder), "REALIZAR_PLUGINS": "broken"}
        done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert "LookupError: nothing here" in done.stdout
        assert "Traceback" in done.stderr and "raise LookupError" in done.stderr

    def test_without_a_backend(self, invoke, monkeypatch):
        monkeypatch.setenv("REALIZAR_BACKEND", "abacus")
        result = invoke("--list-plugins")
        assert result.exit_code == 0
        assert "unknown backend 'abacus'" in result.stdout
        listed = json.loads(invoke("--list-plugins", "--json").stdout)
        assert not any(row["chosen"] for row in listed["plugins"])

    @pytest.mark.parametrize("option", ["--json", "--strict"])
    def test_options_that_belong_to_it(self, invoke, option):
        result = invoke(option)
        assert result.exit_code == 2
        assert "belong to --list-plugins" in result.stderr


class TestRun:
    """`realizar run`."""

    def test_json(self, succeed, model, llm):
        result = json.loads(succeed("run", model, "The sky", "--raw", "--format", "json", *GREEDY))
        assert list(result) == ["prompt_token_ids", "token_ids", "text", "finish_reason", "timings"]
        assert list(result["timings"]) == ["load_s", "prompt_tokens", "prefill_s", "decode_s", "ttft_s"]
        done = llm.generate("The sky", SamplingParams(temperature=0, max_tokens=5))
        assert result["prompt_token_ids"] == list(done.prompt_token_ids)
        assert result["token_ids"] == list(done.token_ids)
        assert (result["text"], result["finish_reason"]) == (done.text, "length")
        assert result["timings"]["prompt_tokens"] == 8

    def test_text(self, succeed, model, llm):
        done = llm.generate("The sky", SamplingParams(temperature=0, max_tokens=5))
        assert succeed("run", model, "The sky", "--raw", *GREEDY) == done.text + "\n"

    def test_prompt_from_standard_input(self, succeed, model):
        wanted = succeed("run", model, "The sky", "--raw", *GREEDY)
        assert succeed("run", model, "--raw", *GREEDY, input="The sky") == wanted

    def test_chat_template_by_default(self, succeed, model, llm):
        result = json.loads(succeed("run", model, "Hi", "--system", "Be brief", "--format", "json", *GREEDY))
        messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
        assert result["prompt_token_ids"] == list(llm.chat(messages, SamplingParams(max_tokens=1)).prompt_token_ids)

    def test_raw_refuses_a_system_message(self, invoke, model):
        result = invoke("run", model, "x", "--raw", "--system", "y")
        assert result.exit_code == 2
        assert "--system needs the chat template that --raw leaves out" in result.stderr

    def test_seed(self, succeed, model):
        line = ("run", model, "The sky", "--raw", "--max-tokens", 8, "--temperature", 1.5, "--top-k", 0, "--top-p", 1)
        assert succeed(*line, "--seed", 3) == succeed(*line, "--seed", 3)
        assert succeed(*line, "--seed", 3) != succeed(*line, "--seed", 4)

    def test_stop(self, succeed, model):
        text = succeed("run", model, "The sky", "--raw", *GREEDY).rstrip("\n")
        stop = text[2]
        cut = succeed("run", model, "The sky", "--raw", *GREEDY, "--stop", "never in there", "--stop", stop)
        assert cut == text[: text.index(stop)] + "\n"

    def test_structure(self, succeed, model, tmp_path):
        pytest.importorskip("llguidance")
        files = {"--json-schema": '{"enum": ["a", "b"]}', "--grammar": 'start: "x" "y"'}
        for option, text in files.items():
            path = tmp_path / "structure"
            path.write_text(text)
            files[option] = succeed("run", model, "x", "--raw", *GREEDY, option, path)
        assert files["--grammar"] == "xy\n"
        assert json.loads(files["--json-schema"]) in ("a", "b")
        assert succeed("run", model, "x", "--raw", *GREEDY, "--regex", "[0-9]{3}").strip().isdecimal()

    def test_one_structure_at_most(self, invoke, model):
        result = invoke("run", model, "x", "--regex", "a", "--grammar", __file__)
        assert result.exit_code == 2 and "exclude each other" in result.output

    def test_trace(self, succeed, model, tmp_path):
        path = tmp_path / "trace.json"
        succeed("run", model, "The sky", "--raw", *GREEDY, "--trace", path)
        events = json.loads(path.read_text())["traceEvents"]
        assert {"load", "prefill", "decode"} <= {event["name"] for event in events}
        for event in events:
            assert event["ph"] == "X"
            assert event["dur"] >= 0 and isinstance(event["pid"], int) and isinstance(event["tid"], int)

    def test_options_reach_the_model(self, invoke, model):
        assert "1 to 16" not in invoke("run", model, "x" * 20, "--raw", "--ctx", 16).output
        result = invoke("run", model, "x" * 20, "--raw", "--ctx", 16)
        assert "the prompt has 21 tokens, the context holds 16" in str(result.exception)
        result = invoke("run", model, "x", "--raw", "--kv-type", "Q4_0")
        assert "cannot keep a Q4_0 cache" in str(result.exception)
        result = invoke("run", model, "x", "--raw", "--model-format", "abc")
        assert "unknown format 'abc'" in str(result.exception)

    @pytest.mark.parametrize(
        "option", [("--max-tokens", 0), ("--threads", 0), ("--temperature", "hot"), ("--format", "xml"), ("--ctx", 0)]
    )
    def test_usage(self, invoke, model, option):
        assert invoke("run", model, "x", *option).exit_code == 2


class TestTokenize:
    """`realizar tokenize`."""

    def test_json(self, succeed, model):
        result = json.loads(succeed("tokenize", model, "hé", "--format", "json"))
        assert list(result) == ["token_ids", "pieces"]
        assert result["token_ids"] == [0, *(3 + byte for byte in "hé".encode())]
        assert result["pieces"] == ["<|endoftext|>", "h", "\ufffd", "\ufffd"]

    def test_text(self, succeed, model):
        assert [line.split() for line in succeed("tokenize", model, "hi", "--no-special").splitlines()] == [
            [str(3 + ord("h")), "'h'"],
            [str(3 + ord("i")), "'i'"],
        ]

    def test_special_tokens(self, succeed, model):
        line = ("tokenize", model, "<|im_end|>", "--format", "json")
        assert json.loads(succeed(*line, "--parse-special", "--no-special"))["token_ids"] == [2]
        assert len(json.loads(succeed(*line, "--no-special"))["token_ids"]) == 10

    def test_file_and_standard_input(self, succeed, model, tmp_path):
        (tmp_path / "text").write_text("hi", encoding="utf-8")
        wanted = succeed("tokenize", model, "hi")
        assert succeed("tokenize", model, "--file", tmp_path / "text") == wanted
        assert succeed("tokenize", model, input="hi") == wanted

    def test_a_vocabulary_alone_will_do(self, succeed, write_model):
        assert succeed("tokenize", write_model(without="config"), "hi")

    def test_text_and_file_exclude_each_other(self, invoke, model):
        assert invoke("tokenize", model, "hi", "--file", model).exit_code == 2


class TestEmbed:
    """`realizar embed`."""

    @pytest.fixture
    def encoder(self, write_model):
        return write_model(encoder=True)

    def test_json(self, succeed, encoder):
        result = json.loads(succeed("embed", encoder, "hé", "ho", "--format", "json", "--backend", "numpy"))
        assert result["texts"] == ["hé", "ho"]
        assert [len(vector) for vector in result["embeddings"]] == [64, 64]
        assert [sum(x * x for x in vector) for vector in result["embeddings"]] == pytest.approx([1, 1], abs=1e-5)

    def test_text(self, succeed, encoder):
        vectors = json.loads(succeed("embed", encoder, "a  b", "c" * 70, "--format", "json"))["embeddings"]
        title, *lines = [line.split() for line in succeed("embed", encoder, "a  b", "c" * 70).splitlines()]
        assert title == "TEXT LENGTH FIRST 6 OF 64 NUMBERS".split()
        for line, text, vector in zip(lines, (["a", "b"], ["c" * 57 + "..."]), vectors, strict=True):
            assert line == [*text, "1.0000", *(f"{x:+.4f}" for x in vector[:6]), "…"]

    def test_file_and_standard_input(self, succeed, encoder, tmp_path):
        (tmp_path / "texts").write_text("hi\nho\n", encoding="utf-8")
        wanted = succeed("embed", encoder, "hi", "ho")
        assert succeed("embed", encoder, "--file", tmp_path / "texts") == wanted
        assert succeed("embed", encoder, "hi", "--file", tmp_path / "texts").splitlines()[2:] == wanted.splitlines()[1:]
        assert succeed("embed", encoder, input="hi\nho") == wanted

    def test_a_long_text(self, invoke, succeed, encoder):
        assert "this model takes 128; embed it in parts" in str(invoke("embed", encoder, "x" * 200).exception)
        assert len(succeed("embed", encoder, "x" * 200, "--truncate").splitlines()) == 2

    def test_pooling(self, succeed, invoke, encoder):
        assert succeed("embed", encoder, "hi", "--pooling", "cls") != succeed("embed", encoder, "hi")
        assert invoke("embed", encoder, "hi", "--pooling", "max").exit_code == 2

    def test_models_of_the_other_kind(self, invoke, model, encoder):
        assert "this llama model generates text" in str(invoke("embed", model, "hi").exception)
        assert "it cannot generate" in str(invoke("run", encoder, "hi", "--raw").exception)


class TestInspect:
    """`realizar inspect`."""

    def test_json(self, succeed, model):
        report = json.loads(succeed("inspect", model, "--format", "json", "--tensors", "--metadata"))
        assert (report["path"], report["format"]) == (str(model), "tiny")
        assert report["config"]["hidden_size"] == 64
        assert report["tokenizer"]["vocabulary"] == 300
        assert report["types"]["F32"]["tensors"] == len(report["tensors"]) == 20
        assert report["types"]["F32"]["nbytes"] == sum(t["nbytes"] for t in report["tensors"])
        assert report["tensors"][0]["shape"] == [300, 64]
        assert report["runs"] == {
            "architecture": "ok: 4 blocks", "tokenizer": "ok: ByteTokenizer", "backend": "ok: numpy"
        }  # fmt: skip

    def test_text(self, succeed, write_model):
        text = succeed("inspect", write_model(weight_type="Q4_1"), "--tensors")
        for part in ("format     tiny", "hidden_size", "Q4_1", "model.embed_tokens.weight", "300 x 64", "ok: numpy"):
            assert part in text

    def test_what_cannot_run_says_why(self, succeed, write_model):
        report = json.loads(succeed("inspect", write_model(without="config"), "--format", "json"))
        assert report["config"] is None
        assert report["runs"]["architecture"] == "no: the file has no model configuration"
        report = json.loads(succeed("inspect", write_model(model_type="mamba"), "--format", "json"))
        assert report["runs"]["architecture"].startswith("no: unknown architecture 'mamba'")
        report = json.loads(succeed("inspect", write_model(without="tokenizer"), "--format", "json"))
        assert report["tokenizer"] is None
        assert report["runs"]["tokenizer"] == "no: the file has no tokenizer"

    def test_metadata_is_short(self, succeed):
        from realizar.cli.inspect import _short

        assert _short("x" * 300) == "x" * 200 + "... (300 characters)"
        assert _short("x" * 200) == "x" * 200
        assert _short(list(range(9))) == "array of 9"
        assert _short(list(range(8))) == "[0, 1, 2, 3, 4, 5, 6, 7]"
        assert _short(2.5) == 2.5


class TestPerplexity:
    """`realizar perplexity`."""

    def test_json_and_text(self, succeed, model, tmp_path):
        path = tmp_path / "text"
        path.write_text("It was a bright cold day in April", encoding="utf-8")
        line = ("perplexity", model, path, "--window", 10, "--backend", "numpy")
        result = json.loads(succeed(*line, "--format", "json"))
        assert list(result) == ["perplexity", "stderr", "tokens", "window"]
        assert (result["tokens"], result["window"]) == (34 - 4, 10)
        assert 100 < result["perplexity"] < 1000  # an untrained model of 300 tokens
        assert succeed(*line).startswith(f"perplexity {result['perplexity']:.4f} ± ")


class TestWarmupAndVersion:
    """`realizar warmup` and `realizar version`."""

    def test_warmup(self, succeed, model):
        assert f"{model} on numpy: ready after" in succeed("warmup", model, "--backend", "numpy")

    def test_version(self, succeed):
        lines = dict(line.split(" ", 1) for line in succeed("version").splitlines())
        assert lines["realizar-core"] == version("realizar-core")
        assert {"numpy", "python"} <= set(lines)
        assert succeed("--version") == f"realizar, version {version('realizar-core')}\n"


class TestStore:
    """`realizar list`, `show`, `rm` and `pull`, over an empty cache."""

    @pytest.fixture(autouse=True)
    def home(self, monkeypatch, tmp_path):
        monkeypatch.setenv("REALIZAR_HOME", str(tmp_path / "home"))

    def test_list(self, succeed):
        lines = [line.split()[:4] for line in succeed("list").splitlines()[1:]]
        assert lines == [
            ["gemma3", "absent", "253", "MB"], ["minilm", "absent", "92", "MB"], ["smollm2", "absent", "98", "MB"]
        ]  # fmt: skip

    def test_show(self, succeed):
        shown = dict(line.split(None, 1) for line in succeed("show", "smollm2").splitlines())
        assert (shown["name"], shown["status"]) == ("smollm2", "absent")
        digest, file = shown["sha256"].split(maxsplit=1)
        assert (len(digest), file) == (64, "SmolLM2-135M-Instruct.Q4_1.gguf, 98362432 bytes")

    def test_show_names_the_terms_of_gemma3(self, succeed):
        shown = dict(line.split(None, 1) for line in succeed("show", "gemma3").splitlines())
        assert (shown["license"], shown["terms"]) == ("LicenseRef-Gemma", "https://ai.google.dev/gemma/terms")

    def test_pull_prints_the_path_and_rm_what_it_freed(self, succeed, monkeypatch, tmp_path):
        monkeypatch.setattr("realizar.store.pull", lambda name, progress: tmp_path / name)
        assert succeed("pull", "smollm2") == f"{tmp_path}/smollm2\n"
        monkeypatch.setattr("realizar.store.remove", lambda name, progress: 98_000_000)
        assert succeed("rm", "smollm2") == "removed smollm2, 98 MB freed\n"

    @pytest.mark.parametrize("name", ["pull", "show", "rm"])
    def test_unknown_names(self, invoke, name):
        assert "smollm3" in str(invoke(name, "smollm3").exception)


class TestChat:
    """`realizar chat`, its input a pipe."""

    @pytest.fixture
    def talk(self, invoke, model, monkeypatch):
        """Runs a conversation; returns the result and the messages that were sent each time."""
        from realizar.engine import LLM

        sent: list[list[dict]] = []
        stream = LLM.stream

        def recorded(self, prompt, params=None):
            sent.append([dict(message) for message in prompt])
            return stream(self, prompt, params)

        monkeypatch.setattr(LLM, "stream", recorded)

        def run(*lines: str, options=()):
            result = invoke("chat", model, *GREEDY, *options, input="".join(f"{line}\n" for line in lines))
            assert result.exit_code == 0, result.exception
            return result, sent

        return run

    def test_a_conversation_grows(self, talk):
        result, sent = talk("Hello", "And?")
        assert sent[0] == [{"role": "user", "content": "Hello"}]
        assert [m["role"] for m in sent[1]] == ["user", "assistant", "user"]
        assert sent[1][2]["content"] == "And?"
        assert sent[1][1]["content"] and sent[1][1]["content"] in result.stdout

    def test_help(self, talk):
        result, sent = talk("/help", "/nonsense")
        for word in ("/help", "/system", "/clear", "/quit", "Ctrl-C"):
            assert word in result.stdout
        assert "unknown command /nonsense" in result.stderr
        assert sent == []

    def test_system_and_clear(self, talk):
        _, sent = talk("one", "/system Be brief", "two", "/clear", "three", "/system", "four")
        assert sent == [
            [{"role": "user", "content": "one"}],
            [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "two"}],
            [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "three"}],
            [{"role": "user", "content": "four"}],
        ]

    def test_system_option(self, talk):
        _, sent = talk("one", options=("--system", "Be brief"))
        assert sent[0][0] == {"role": "system", "content": "Be brief"}

    def test_several_lines(self, talk):
        _, sent = talk('"""', "first", "", "  second", '"""', "", "/quit", "never")
        assert sent == [[{"role": "user", "content": "first\n\n  second"}]]

    def test_an_error_leaves_the_conversation_as_it_was(self, talk):
        result, sent = talk("x" * 300, "short")
        assert "error: the prompt has" in result.stderr
        assert sent[1] == [{"role": "user", "content": "short"}]
