"""The conformance kit: what a plugin inherits to prove that it keeps its contract."""
