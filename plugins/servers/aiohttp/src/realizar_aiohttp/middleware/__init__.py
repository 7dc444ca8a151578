"""What every request passes, the outermost first."""

from realizar_aiohttp.middleware.accounting import accounting
from realizar_aiohttp.middleware.auth import auth
from realizar_aiohttp.middleware.errors import errors
from realizar_aiohttp.middleware.origin import origin
from realizar_aiohttp.middleware.request_id import request_id
from realizar_aiohttp.middleware.tracing import tracing

MIDDLEWARES = (request_id, accounting, errors, origin, auth, tracing)
"""An id for all that follows; counts; errors in the caller's shape; who may ask; and what is to be measured."""
