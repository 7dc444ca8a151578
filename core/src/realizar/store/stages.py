"""What a pull reports through its `Progress`: the stage, the bytes done and the bytes in all."""

from __future__ import annotations

WAITING = "waiting"
"""Another process holds this model's lock; done and total are 0."""

DOWNLOADING = "downloading"
VERIFYING = "verifying"
EXTRACTING = "extracting"
