"""One module for each family of routes; each has `ROUTES`."""

from types import ModuleType

from realizar_aiohttp.wires import (
    anthropic_messages,
    llama_server_completion,
    llama_server_props,
    llama_server_slots,
    ollama_embed,
    ollama_generation,
    ollama_models,
    ollama_store,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_models,
    rerank,
    rust_generation,
    rust_scoring,
    rust_status,
    tokenization,
)

WIRES: tuple[ModuleType, ...] = (
    openai_chat, openai_completions, openai_embeddings, openai_models, anthropic_messages, ollama_generation,
    ollama_embed, ollama_models, ollama_store, llama_server_completion, llama_server_props, llama_server_slots,
    tokenization, rerank, rust_generation, rust_scoring, rust_status,
)  # fmt: skip
"""Every family, in the order of the OpenAPI document."""
