"""A real browser without a screen: pictures of pages, paper of them, and what a script finds in them."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
WHY_NOT = f"needs a browser: none of {', '.join(NAMES)} is on the PATH"
DARK = "--blink-settings=preferredColorScheme=0"
RGB = tuple[int, int, int]


class Picture(NamedTuple):
    """What is seen; rows of three bytes a pixel."""

    width: int
    height: int
    rows: list[bytes]

    def at(self, x: int, y: int) -> RGB:
        red, green, blue = self.rows[y][3 * x : 3 * x + 3]
        return red, green, blue

    def count(self, wanted: RGB) -> int:
        """Pixels of just that colour."""
        return sum(len(self._places(row, wanted)) for row in self.rows)

    def first_column(self, wanted: RGB) -> int:
        """The leftmost in which that colour is."""
        return min(places[0] for row in self.rows if (places := self._places(row, wanted)))

    def _places(self, row: bytes, wanted: RGB) -> list[int]:
        found, place = [], row.find(bytes(wanted))
        while place >= 0:
            if place % 3 == 0:
                found.append(place // 3)
            place = row.find(bytes(wanted), place + 1)
        return found


def picture(page: Path, *, width: int, height: int, dark: bool = False) -> Picture:
    """The page in a window of that size."""
    out = page.with_suffix(f".{'dark' if dark else 'light'}.{width}.png")
    _run(page, f"--window-size={width},{height}", f"--screenshot={out}", *([DARK] if dark else []))
    return read_png(out.read_bytes())


def paper(page: Path, *, dark: bool = False) -> bytes:
    """The page printed, a PDF."""
    out = page.with_suffix(".pdf")
    _run(page, f"--print-to-pdf={out}", "--no-pdf-header-footer", *([DARK] if dark else []))
    return out.read_bytes()


def found_by(page: Path, script: str, *, width: int, height: int = 900) -> Any:
    """What a script returns in the page, which is let run one for this."""
    html = page.read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    call = (
        "<script>addEventListener('load', () => {"
        f"const found = (() => {{ {script} }})();"
        "const e = document.createElement('pre'); e.id = 'found';"
        "e.textContent = encodeURIComponent(JSON.stringify(found)); document.body.append(e); });</script>"
    )
    asked = page.with_suffix(".asked.html")
    asked.write_text(html.replace("</body>", f"{call}</body>"), encoding="utf-8")
    dom = _run(asked, f"--window-size={width},{height}", "--dump-dom")
    match = re.search(r'<pre id="found">(.*?)</pre>', dom)
    assert match is not None, dom[-500:]
    return json.loads(unquote(match[1]))


def _run(page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    profile = page.parent / "profile"
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing is fetched
            f"--user-data-dir={profile}",
            *options,
            page.as_uri(),
        ],
        capture_output=True,
        timeout=100,
        check=True,
        env={**os.environ, "HOME": str(page.parent)},
    )
    return done.stdout.decode()


def read_png(data: bytes) -> Picture:
    """Eight bits a channel, with or without transparency, not interlaced (RFC 2083)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed, width, height, channels = 8, b"", 0, 0, 3
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert (depth, interlace) == (8, 0)
            assert colour in {2, 6}
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += body
        place += size + 12
    return Picture(width, height, _rows(zlib.decompress(packed), width, height, channels))


def _rows(raw: bytes, width: int, height: int, channels: int) -> list[bytes]:
    rows: list[bytes] = []
    size = width * channels
    before = bytearray(size)
    for number in range(height):
        begin = number * (size + 1)
        filtered, row = raw[begin], bytearray(raw[begin + 1 : begin + 1 + size])
        for i in range(size if filtered else 0):
            left = row[i - channels] if i >= channels else 0
            corner = before[i - channels] if i >= channels else 0
            above = before[i]
            if filtered == 1:
                add = left
            elif filtered == 2:
                add = above
            elif filtered == 3:
                add = (left + above) // 2
            else:
                guess = left + above - corner
                add = min((left, above, corner), key=lambda each: abs(guess - each))
            row[i] = (row[i] + add) & 255
        before = row
        rows.append(
            bytes(row)
            if channels == 3
            else bytes(each for x in range(width) for each in row[4 * x : 4 * x + 3])
        )
    return rows
