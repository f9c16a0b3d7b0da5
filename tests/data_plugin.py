"""The small official data as a plugin, so that the registry finds its tasks in every process; see ``fake_data.py``."""

from fake_data import PAIRS, PAIRS_ONLY, POSTED

__all__ = ["PAIRS", "PAIRS_ONLY", "POSTED"]
