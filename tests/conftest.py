"""What all tests share: how hypothesis draws, and that they neither use nor fill the user's cache."""

import os

from hypothesis import settings

# Derandomised: a test run says the same about the same code.  No deadline: the machine may be busy.
settings.register_profile("valuegrad", deadline=None, derandomize=True, database=None)
settings.load_profile("valuegrad")

os.environ["VALUEGRAD_CACHE"] = ""  # for the processes that tests start, too
