"""What all tests share."""

from hypothesis import settings

# Random cases, but the same for everybody: a change is judged by what it changed. No deadline: machines are busy.
settings.register_profile("offhook", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("offhook")
