"""The program as a whole: exit codes, errors in one line, Ctrl-C, a reader that goes away, a light start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from realizar.cli import main as cli_main
from realizar.cli.main import COMMANDS, cli

GREEDY = ("--temperature", "0", "--max-tokens", "5", "--backend", "numpy")


@pytest.fixture
def model(write_model):
    return write_model()


def hear_interrupts() -> None:
    """In a new process: a parent in the background (a CI runner) may have passed on that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class TestMain:
    """Exit codes and errors of the whole program."""

    @pytest.fixture
    def exits(self, plugins, monkeypatch, capsys):
        def run(*args: object) -> tuple[int, str]:
            monkeypatch.setattr(sys, "argv", ["realizar", *map(str, args)])
            with pytest.raises(SystemExit) as caught:
                cli_main.main()
            return caught.value.code, capsys.readouterr().err

        return run

    def test_ok(self, exits):
        assert exits("version") == (0, "")
        assert exits()[0] == 0
        assert exits("--list-plugins")[0] == 0

    def test_failed(self, exits, tmp_path, model):
        assert exits("run", tmp_path / "absent.tiny", "x") == (
            1, f"error: '{tmp_path}/absent.tiny': no such file; a model is a path or one of: gemma3, minilm, smollm2\n"
        )  # fmt: skip
        assert exits("run", model, "x", "--raw", "--temperature", "-1")[0] == 1

    def test_usage(self, exits):
        code, text = exits("nonsense")
        assert code == 2 and "No such command 'nonsense'" in text
        assert exits("run")[0] == 2
        assert exits("run", "--nonsense")[0] == 2

    def test_interrupted(self, exits, monkeypatch):
        monkeypatch.setattr(cli, "main", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert exits("version") == (130, "interrupted\n")

    def test_a_text_that_is_not_utf8(self, exits, model, tmp_path):
        (tmp_path / "text").write_bytes(b"\xff\xfe")
        code, text = exits("perplexity", model, tmp_path / "text", "--backend", "numpy")
        assert code == 1
        assert text.startswith("error: ") and len(text.splitlines()) == 1

    def test_a_trace_that_cannot_be_written(self, exits, model, tmp_path):
        line = ("run", model, "x", "--raw", *GREEDY, "--trace", tmp_path / "no" / "folder")
        code, text = exits(*line)
        assert code == 1
        assert text.startswith("error: ") and "folder" in text

    def test_a_damaged_file(self, exits, tmp_path):
        path = tmp_path / "bad.tiny"
        path.write_text("{")
        code, text = exits("run", path, "x")
        assert code == 1
        assert text.startswith(f"error: {path}: not JSON") and "Traceback" not in text

    def test_every_command_has_help(self):
        listed = CliRunner().invoke(cli, ["--help"]).stdout
        for name in COMMANDS:
            assert name in listed
            result = CliRunner().invoke(cli, [name, "--help"])
            assert result.exit_code == 0
            assert result.stdout.startswith(f"Usage: cli {name}")


class TestProcess:
    """What only a process of its own can show."""

    def test_starts_light(self, command_environ):
        """Neither the command nor the list of plugins imports what is heavy."""
        code = (
            "import sys\n"
            "import realizar.cli.main\n"
            "first = set(sys.modules)\n"
            "sys.argv = ['realizar', '--list-plugins']\n"
            "try: realizar.cli.main.main()\n"
            "except SystemExit as end: assert not end.code\n"
            "heavy = {'numba', 'cupy', 'aiohttp', 'torch'}\n"
            "print(sorted(heavy & set(sys.modules)), 'numpy' in first, 'jinja2' in sys.modules)\n"
        )
        del command_environ["REALIZAR_PLUGINS"]  # all that are installed
        done = subprocess.run(
            [sys.executable, "-c", code], env=command_environ, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines()[-1] == "[] False False", done.stderr

    def test_exit_codes(self, command, model):
        assert command("version").returncode == 0
        failed = command("run", "absent.tiny", "x")
        assert (failed.returncode, failed.stdout) == (1, "")
        assert failed.stderr.startswith("error: ") and "Traceback" not in failed.stderr
        assert command("run").returncode == 2

    def test_ctrl_c(self, command_environ, write_model):
        model = write_model(max_position_embeddings=100_000)
        line = [sys.executable, "-m", "realizar", "run", str(model), "a", "--raw", "--backend", "slow"]
        process = subprocess.Popen(
            [*line, "--max-tokens", "50000"], env=command_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=hear_interrupts,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert errors.decode().strip().endswith("interrupted") and b"Traceback" not in errors

    def test_ctrl_c_stops_the_reply_and_not_the_chat(self, command_environ, write_model):
        model = write_model(max_position_embeddings=100_000)
        line = [sys.executable, "-m", "realizar", "chat", str(model), "--backend", "slow", "--max-tokens", "50000"]
        process = subprocess.Popen(
            line, env=command_environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=hear_interrupts,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"Hello\n")
        process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        output, errors = process.communicate(b"/help\n/quit\n", timeout=30)
        assert process.returncode == 0, errors
        assert b"(stopped)" in errors and b"Traceback" not in errors
        assert b"/clear" in output

    def test_broken_pipe(self, command_environ, write_model):
        model = write_model(max_position_embeddings=100_000)
        line = [sys.executable, "-m", "realizar", "run", str(model), "a", "--raw", "--backend", "slow"]
        process = subprocess.Popen(
            [*line, "--max-tokens", "50000"], env=command_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=hear_interrupts,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert process.wait(30) == 1
        assert errors == b""
