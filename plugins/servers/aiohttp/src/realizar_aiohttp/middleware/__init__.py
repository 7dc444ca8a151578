"""What every request passes, the outermost first."""

from realizar_aiohttp.middleware.accounting import accounting
from realizar_aiohttp.middleware.auth import auth
from realizar_aiohttp.middleware.context import context
from realizar_aiohttp.middleware.errors import errors
from realizar_aiohttp.middleware.keys import keys
from realizar_aiohttp.middleware.origin import origin
from realizar_aiohttp.middleware.request_id import request_id
from realizar_aiohttp.middleware.tracing import tracing

MIDDLEWARES = (request_id, context, accounting, errors, origin, auth, keys, tracing)
"""An id, a trace and a log entry for all that follows; counts of all that is answered; errors in the caller's shape;
then who may ask, how much, and what is to be measured."""
