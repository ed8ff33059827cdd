"""Property tests: no deadline, since the machine may be busy; the same examples each time in CI."""

import os

from hypothesis import settings

settings.register_profile("ttc", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("ttc")
