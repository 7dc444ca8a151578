"""Model families: each turns a configuration and tensors into a graph."""

from realizar.architectures.architecture import Architecture

__all__ = ["Architecture"]
