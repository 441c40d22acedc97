"""What all tests share: how hypothesis draws."""

from hypothesis import settings

# Derandomised: a test run says the same about the same code.  No deadline: the machine may be busy.
settings.register_profile("valuegrad", deadline=None, derandomize=True, database=None)
settings.load_profile("valuegrad")
