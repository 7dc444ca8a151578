"""Every failure becomes an answer in the shape of the route's clients."""

from __future__ import annotations

from aiohttp import web

from realizar_aiohttp.call import to_json
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.middleware.request_id import REQUEST_ID
from realizar_aiohttp.problem import Problem, problem_of
from realizar_aiohttp.service import SERVICE, log
from realizar_aiohttp.shapes import error_shape


@web.middleware
async def errors(request: web.Request, handler: Next) -> web.StreamResponse:
    """The answer, or what went wrong; a client that is gone gets nothing."""
    try:
        return await handler(request)
    except ConnectionError:
        raise
    except web.HTTPException as error:
        return respond(request, _routing(request, error))
    except Exception as error:
        problem = problem_of(error)
        if problem.status == 500:
            log.exception("%s: %s %s failed", request.get(REQUEST_ID), request.method, request.path)
        return respond(request, problem)


def respond(request: web.Request, problem: Problem) -> web.Response:
    """The problem as a response."""
    return web.Response(
        status=problem.status, body=to_json(error_shape(request.path, problem)), content_type="application/json",
        headers=dict(problem.headers),
    )  # fmt: skip


def _routing(request: web.Request, error: web.HTTPException) -> Problem:
    """What aiohttp itself refuses: no such route or method, a body that is too large."""
    where = f"{request.method} {request.path[:200]}"
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        most = request.app[SERVICE].config.max_body_nbytes
        return Problem(
            status=413, code="request_too_large", message=f"the body of the request is larger than {most} bytes",
            hint="send less, or start the server with a larger --max-body", headers={"Connection": "close"},
        )  # fmt: skip
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(
            status=405, code="method_not_allowed", message=f"{where}: no such method; expected {allowed}",
            headers={"Allow": allowed},
        )  # fmt: skip
    return Problem(
        status=error.status, code="not_found" if error.status == 404 else "http_error",
        message=f"{where}: {'no such route' if error.status == 404 else error.reason}",
        hint="GET /openapi.json lists every route" if error.status == 404 else None,
    )  # fmt: skip
