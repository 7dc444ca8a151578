"""What the server and its engines are doing: for people, `realizar top` and the page."""

from __future__ import annotations

from typing import Any

import attrs
from aiohttp import web

from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.routes import Route


async def state(call: Call[None]) -> web.Response:
    """Every model with its engine's numbers and open sequences; token counts only, never text."""
    service = call.service
    loaded = {model.id: model for model in service.pool.loaded}
    models = [_model(name, loaded.get(name)) for name in service.pool.ids]
    return call.json(
        {
            "draining": service.draining, "open_requests": service.num_open, "models": models,
            "resilience": service.resilience.state(),
        }
    )  # fmt: skip


def _model(name: str, model: ServedModel | None) -> dict[str, Any]:
    if model is None:
        return {"id": name, "alive": False, "stats": None, "sequences": []}
    sequences = [attrs.asdict(sequence) for sequence in model.llm.sequences]
    return {"id": name, "alive": model.llm.alive, "stats": attrs.asdict(model.llm.stats), "sequences": sequences}


ROUTES = (Route("GET", "/debug/state", state, None, "Engines, batches and caches at this moment"),)
