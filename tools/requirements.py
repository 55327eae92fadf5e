"""Print what the project depends on, one requirement a line: `requirements.py [EXTRA ...]`.

The project runs from its checkout, so pip is given pyproject.toml's dependencies and nothing is built.
"""

import sys
import tomllib
from pathlib import Path


def requirements(extras: list[str]) -> list[str]:
    """Return the dependencies in pyproject.toml, then those of each extra."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(sys.argv[1:])) + "\n")
