"""The NumPy backend: slow, complete, and the definition of every op."""

from realizar.reference.backend import Numpy64Backend, NumpyBackend

__all__ = ["Numpy64Backend", "NumpyBackend"]
