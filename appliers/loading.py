"""``--appliers module:object``: find the user's appliers and build their rules."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from appliers.applier import Appliers, Rules
from binlog.errors import RefusedError

_DO = "name them as module:object, where object is an Appliers"


def load_rules(name: str) -> Rules:
    """The rules of ``module:object``; the current directory is searched first.

    The name can be given to worker processes, each of which loads it for itself.

    Raises:
        RefusedError: no such module or object, an import that fails, no Appliers, or ones that
            cannot be built.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise RefusedError(f"the appliers {name!r}", do=_DO)
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise RefusedError(
                f"there is no module {missing!r}", f"appliers {name}", f"looked in {here} first"
            ) from error
        raise RefusedError(
            f"it imports {missing!r}, which is missing", f"appliers {name}"
        ) from error
    except Exception as error:
        raise RefusedError(
            f"its import failed ({type(error).__name__}: {error})",
            f"appliers {name}{_line_of(error, module_name)}",
        ) from error
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise RefusedError(
                f"module {module_name!r} has no {path!r}", f"appliers {name}", _DO
            ) from error
    if not isinstance(found, Appliers):
        raise RefusedError(f"it is a {type(found).__name__}", f"appliers {name}", _DO)
    try:
        return found.build()
    except RefusedError as error:
        raise RefusedError(error.what, f"appliers {name}", error.do, **error.details) from error


def _line_of(error: Exception, module_name: str) -> str:
    """``, FILE:LINE`` of the last frame within the module, if there is one."""
    if isinstance(error, SyntaxError):
        return f", {error.filename}:{error.lineno}"
    own = f"{module_name.rpartition('.')[2]}.py"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).name in (own, "__init__.py") and "importlib" not in frame.filename:
            return f", {frame.filename}:{frame.lineno}"
    return ""
