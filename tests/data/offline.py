"""Run commands in a process from which nothing gets out, and say what each tried to reach.

Standard input: the command lines, and what the words GGUF, DIRECTORY and TEXT in them stand for, as JSON. Argument:
an empty folder to call home. An audit hook cannot be taken out again, which is why this is a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

REACHING = ("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.sendto", "socket.sendmsg")
STARTING = ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system", "os.fork", "os.startfile")

reached: list[str] = []


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and arguments[1][:1] == ["uname"]:
        return  # how Python's `platform` learns the processor's name
    if event.startswith((*REACHING, *STARTING)):
        reached.append(event)
        raise ConnectionRefusedError(f"{event} in a process that reaches nothing")


def answer(line: list[str]) -> None:
    from realizar import LLM, SamplingParams
    from realizar.cli.main import cli

    if line[0] == "LLM":
        with LLM(line[1], backend="numpy") as llm:
            llm.generate("Hello", SamplingParams(max_tokens=2))
        return
    sys.stdin = io.StringIO("/quit\n")
    cli.main(line, standalone_mode=False)


def main() -> None:
    lines, words = json.load(sys.stdin)
    for name in [name for name in os.environ if name.startswith(("HF_", "REALIZAR_"))]:
        del os.environ[name]
    os.environ |= {"REALIZAR_HOME": f"{sys.argv[1]}/home", "HF_HOME": f"{sys.argv[1]}/hf"}
    sys.addaudithook(refuse)
    report = {}
    for line in lines:
        reached.clear()
        error = ""
        try:
            answer([words.get(word, word) for word in line])
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"
        report[" ".join(line)] = {"error": error, "reached": list(reached)}
    print()
    print(json.dumps(report))


main()
