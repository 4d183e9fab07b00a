"""What all tests share."""

from hypothesis import settings

# Random cases, but the same in every run, so that a failure is caused by the
# change. No deadline: machines are busy.
settings.register_profile("offhook", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("offhook")
