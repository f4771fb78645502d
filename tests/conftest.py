"""How long properties are looked for: a moment in `make test`, for as long as it takes in `make fuzz`.

The moment has the same examples each time, so that a change is judged by what it does; new ones are for `make fuzz`.
"""

from hypothesis import settings

settings.register_profile("moment", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("moment")
