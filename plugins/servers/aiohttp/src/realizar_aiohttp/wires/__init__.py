"""One module for each family of routes; each has `ROUTES`."""

from types import ModuleType

from realizar_aiohttp.wires import openai_chat, openai_completions, openai_embeddings, openai_models

WIRES: tuple[ModuleType, ...] = (openai_chat, openai_completions, openai_embeddings, openai_models)
"""Every family, in the order of the OpenAPI document."""
