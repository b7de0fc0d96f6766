"""The program of a twin process: run by its path, with the numbers of two pipes.

Half of the time until a twin is ready would go to the rest of the kit, Hypothesis above all, which
only needs to be there if the user's module imports it. So the package is filled when that asks for
something of it; until then its own modules are all that can be imported.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from typing import Any

NAME = "binlog.testing"


class _Filler(MetaPathFinder):
    """Fills the package before one more of its modules is looked for, as an import of it would."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec(NAME)
        assert spec is not None
        assert spec.loader is not None
        self._loader = spec.loader
        self._package: Any = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = self._package

    def wait(self) -> None:
        self._package.__getattr__ = self._attribute
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        if fullname.startswith(f"{NAME}."):
            self._fill()

    def _attribute(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._fill()
        return getattr(self._package, name)

    def _fill(self) -> None:
        sys.meta_path.remove(self)
        del self._package.__getattr__
        self._loader.exec_module(self._package)


if __name__ == "__main__":
    filler = _Filler()
    from binlog.testing.laws.twin import serve

    filler.wait()
    serve(*map(int, sys.argv[1:]))
