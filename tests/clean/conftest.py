"""Property tests have no deadline: a loaded machine is not a wrong result."""

from hypothesis import settings

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
