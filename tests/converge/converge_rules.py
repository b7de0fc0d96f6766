"""What is published, and the appliers that fold it: broken for one key at first, and then mended."""

from __future__ import annotations

from pathlib import Path

from appliers.applier import Appliers, Rules
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.values import encode_value

MODULE = "converge_code"
APPLIERS = f"{MODULE}:rules"
TABLES = ("counts", "items")
POISONED = "c3"
KEYS = 12
_CODE = """\
from appliers.applier import ApplierError, Appliers

rules = Appliers()


@rules.on("Counted", table="counts", version=1)
def counted(item, event):
{body}"""
_MENDED = """\
    before = {**event.key, "n": 0} if item is None else item
    return {**before, "n": before["n"] + 1, "last": event.data["id"], "trail": event.offset % 7}
"""
_BROKEN = (
    f'    if event.key["id"] == "{POISONED}":\n'
    f'        raise ApplierError("{POISONED} cannot be counted")\n' + _MENDED
)


def write_code(folder: Path, *, broken: bool) -> None:
    """Deploy the appliers' module; who runs keeps what it has imported."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{MODULE}"
    aside.write_text(_CODE.format(body=_BROKEN if broken else _MENDED), encoding="utf-8")
    aside.replace(folder / f"{MODULE}.py")


def mended_rules() -> Rules:
    """The same rules for the reference."""
    names: dict[str, object] = {}
    exec(_CODE.format(body=_MENDED), names)
    rules = names["rules"]
    assert isinstance(rules, Appliers)
    return rules.build()


def event_of(name: str, number: int) -> Envelope:
    """Of a few keys that everybody writes to: half of them for appliers, half actions."""
    id_ = f"{name}/{number}"
    if number % 2:
        key = encode_value({"id": f"c{number // 2 % KEYS}"})
        return Envelope(id_, "Counted", 1, "counts", key, encode_value({"id": id_}))
    key = encode_value({"id": f"i{number // 2 % KEYS}"})
    match number % 14:
        case 0:
            return Envelope(id_, DELETE_ITEM, 1, "items", key, None)
        case 2 | 4:
            item = encode_value({"id": f"i{number // 2 % KEYS}", "last": id_, "applied": 0})
            return Envelope(id_, PUT_ITEM, 1, "items", key, item)
    change = encode_value({"Set": {"last": id_}, "Add": {"applied": 1}})
    return Envelope(id_, UPDATE_ITEM, 1, "items", key, change)
