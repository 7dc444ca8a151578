"""What a running server says of itself, for those commands that look at one."""

from __future__ import annotations

from typing import Any

from realizar.errors import RequestError


async def fetch_state(url: str, key: str | None) -> dict[str, Any]:
    """What the server says of itself at /debug/state; raises RequestError if it does not."""
    try:
        import aiohttp
    except ImportError:
        raise RequestError(
            "watching a server needs aiohttp; install it with: pip install 'realizar[aiohttp]'"
        ) from None
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    where = url.rstrip("/") + "/debug/state"
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as session:
            async with session.get(where) as response:
                if response.status != 200:
                    raise RequestError(f"{where}: the server answered {response.status}; does it need --api-key-file?")
                state: dict[str, Any] = await response.json()
                return state
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise RequestError(f"{where}: {error or type(error).__name__}; is a server running there?") from error
