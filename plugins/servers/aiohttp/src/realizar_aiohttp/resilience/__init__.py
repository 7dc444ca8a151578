"""What keeps one request, one client or one failing engine from hurting the others."""

from realizar_aiohttp.resilience.resilience import Resilience

__all__ = ["Resilience"]
