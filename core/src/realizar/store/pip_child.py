"""pip on a leash: run as a script, it is `python -m pip`, and ends when its parent does.

The parent holds the other end of standard input. However the parent dies, kill -9 included, the pipe closes and
this process leaves at once: no orphan goes on downloading into a folder that the next pull clears.
"""

from __future__ import annotations

import os
import runpy
import threading


def _leave_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
