"""`realizar chat`: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from realizar.cli.display import progress_bars
from realizar.cli.options import draft_option, model_options, sampling_options
from realizar.cli.run import sampling_params
from realizar.engine import LLM
from realizar.errors import RealizarError
from realizar.sampling import SamplingParams

HELP = """/help          this text
/system TEXT   set the system message and start over (no TEXT: remove it)
/clear         start over, keeping the system message
/quit          leave (so does Ctrl-D)
\"\"\"            begins a message of several lines, and ends it
Ctrl-C         stops the reply"""


@click.command("chat")
@model_options
@sampling_options
@draft_option
@click.option("--system", help="System message.")
def chat_command(model: str, system: str | None, **options: Any) -> None:
    """Talk with MODEL; /help lists the commands."""
    params = sampling_params(options)
    with progress_bars() as progress:
        llm = LLM(model, progress=progress, **options)
    with llm:
        click.echo(f"{model}: /help for help", err=True)
        Conversation(llm, params, system).run()


class Conversation:
    """The messages so far, and the loop that adds to them."""

    def __init__(self, llm: LLM, params: SamplingParams, system: str | None) -> None:
        self.llm, self.params, self.system = llm, params, system
        self.messages: list[dict[str, Any]] = []
        self.clear()

    def run(self) -> None:
        """Read, answer, repeat until the input ends."""
        while True:
            try:
                text = read_message()
            except KeyboardInterrupt:
                click.echo("\n(Ctrl-D or /quit to leave)", err=True)
                continue
            if text is None or text.strip() == "/quit":
                return
            if text.startswith("/"):
                self.command(text)
            elif text.strip():
                self.say(text)

    def command(self, text: str) -> None:
        """Obey /help, /system or /clear."""
        word, _, rest = text.strip().partition(" ")
        if word == "/help":
            click.echo(HELP)
        elif word == "/clear":
            self.clear()
            click.echo("started over", err=True)
        elif word == "/system":
            self.system = rest or None
            self.clear()
            click.echo("system message set, started over" if rest else "system message removed, started over", err=True)
        else:
            click.echo(f"unknown command {word}; /help lists them", err=True)

    def clear(self) -> None:
        """Forget everything but the system message."""
        self.messages = [] if self.system is None else [{"role": "system", "content": self.system}]

    def say(self, text: str) -> None:
        """Send a user message and stream the reply; what was said until Ctrl-C stays in the conversation."""
        self.messages.append({"role": "user", "content": text})
        reply: list[str] = []
        try:
            with contextlib.closing(self.llm.stream(self.messages, self.params)) as pieces:
                for piece in pieces:
                    reply.append(piece.text)
                    sys.stdout.write(piece.text)
                    sys.stdout.flush()
            sys.stdout.write("\n")
        except KeyboardInterrupt:
            click.echo(" (stopped)", err=True)
        except RealizarError as error:
            self.messages.pop()
            click.echo(f"error: {error}", err=True)
            return
        self.messages.append({"role": "assistant", "content": "".join(reply)})


def read_message() -> str | None:
    """A line, or several between lines of three double quotes; None at the end of the input."""
    try:
        line = input("> " if sys.stdin.isatty() else "")
        if line.strip() != '"""':
            return line
        lines = []
        while (line := input("| " if sys.stdin.isatty() else "")).strip() != '"""':
            lines.append(line)
        return "\n".join(lines)
    except EOFError:
        return None
