"""realizar: an LLM inference engine made of plugins."""

from realizar.hookspecs import hookimpl

__all__ = ["hookimpl"]
