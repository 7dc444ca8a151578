"""Two backends side by side: the same inputs through both, op by op, until one is seen to differ."""

from realizar.parity.comparison import Finding, Repetition, compare, repeat
from realizar.parity.diagnosis import diagnose
from realizar.parity.gate import prove_parity
from realizar.parity.probe import linear_of_ones
from realizar.parity.side import load_weights

__all__ = ["Finding", "Repetition", "compare", "diagnose", "linear_of_ones", "load_weights", "prove_parity", "repeat"]
