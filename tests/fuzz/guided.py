"""One target under atheris: inputs that reach new lines are kept and changed further.

A process of its own, because what is watched has to be imported under watch, and libFuzzer ends its process.
`python -m tests.fuzz.guided NAME OPTIONS…` where the options are libFuzzer's, or files to try once.
"""

import sys
from importlib import import_module

import atheris


def main(name: str, *options: str) -> None:
    with atheris.instrument_imports(include=["teleport"]):
        targets = import_module("tests.fuzz.targets").TARGETS
    (target,) = (one for one in targets if one.name == name)
    atheris.Setup([sys.argv[0], *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
