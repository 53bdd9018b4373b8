"""Hypothesis profiles: `ci` (fixed seeds, moderate) by default, `deep` (random, long) by HYPOTHESIS_PROFILE=deep."""

import os

from hypothesis import HealthCheck, settings

_COMMON = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60, suppress_health_check=_COMMON)
settings.register_profile("deep", deadline=None, max_examples=3000, suppress_health_check=_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
