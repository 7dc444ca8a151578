"""How much a server takes on, and what it does about failures."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """None: no limit.

    request_timeout_s: the longest a request may take, and what one has that names no time of its own.
    max_wait_s: a request that would wait longer, by what the engine does now, is told to come again.
    key_concurrency, key_tokens_per_minute: requests at a time, and tokens of prompts and answers, of one key.
    max_generations, max_scorings, max_tokenizations: how many of a kind of work are open at a time.
    breaker_failures: so many failures within breaker_window_s, and a model is left alone for breaker_open_s; then one
    request tries it. stall_s: a step that takes longer is taken for a failure. restart_delay_s: before a failed engine
    is started again; it doubles from failure to failure. min_memory_nbytes: with less memory left to the process, or a
    step that could not have what it needed, the server does less, step by step; one step is taken back every calm_s.
    """

    request_timeout_s: float | None = None
    max_wait_s: float | None = None
    key_concurrency: int | None = None
    key_tokens_per_minute: int | None = None
    max_generations: int = 1024
    max_scorings: int = 256
    max_tokenizations: int = 256
    breaker_failures: int = 3
    breaker_window_s: float = 30.0
    breaker_open_s: float = 10.0
    stall_s: float = 120.0
    restart_delay_s: float = 0.1
    min_memory_nbytes: int = 128 << 20
    calm_s: float = 30.0
