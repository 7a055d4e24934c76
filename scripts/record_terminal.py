"""Record dseg's first commands at a terminal as an animated SVG for the README.

The commands run in a pseudo-terminal of 80 columns, on scenes that are drawn by program, in a
temporary folder; what is shown is their output, unchanged. Run it again after a change of messages:

    python scripts/record_terminal.py [FILE]
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import struct
import sys
import tempfile
import termios
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import suppress
from fcntl import ioctl
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from dseg.synth import draw_scene

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs/images/terminal.svg"
SAMPLES = ROOT / "dseg/samples/leftImg8bit/demo/dsegville"
COLUMNS, ROWS = 80, 28
COMMANDS = (
    "dseg infer photos",
    "dseg init roads --names road,sidewalk,person,car",
    "dseg train --data-dir roads --out run --epochs 4",
)
GROUPS = ((7,), (8,), (24, 25), (26,))  # label ids of the four classes of the training data
PAIRS, SIZE = 24, (96, 160)
LIVE_S = 1.5  # between pictures of a running command
MOST_LIVE = 3  # of them for each command
TYPED_S, LIVE_SHOWN_S, DONE_S, LAST_S = 1.2, 1.2, 4.5, 8.0  # how long a picture is shown
TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07]*\x07|\x1b[()=>].?|.", re.DOTALL)
UNFINISHED = re.compile(r"(\x1b(\[[0-9;?]*)?)?\Z")  # a sequence of which the rest is to come
THEME = TerminalTheme(
    (24, 28, 36),
    (220, 224, 230),
    [(60, 66, 78), (240, 113, 120), (150, 210, 120), (240, 200, 110), (110, 170, 250),
     (200, 150, 240), (100, 210, 220), (220, 224, 230)],
    [(130, 138, 152), (255, 140, 145), (175, 230, 145), (255, 215, 130), (140, 190, 255),
     (215, 175, 250), (130, 225, 235), (255, 255, 255)],
)  # fmt: skip
FORMAT = "{styles}\0{backgrounds}{matrix}\0{char_height} {width} {height}"
FONT = "ui-monospace, 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
CELL = (12.2, 24.4)  # width and height of a character in the drawing of rich
PAD, TITLE = 18, 40  # around the text, and above it


class Picture(NamedTuple):
    """What the terminal shows for a time."""

    text: str  # with ANSI sequences for colours
    seconds: float


class Screen:
    """The lines of a terminal: understands colours, returns, and the erasing of lines."""

    def __init__(self) -> None:
        self.lines: list[dict[int, tuple[str, str]]] = [{}]
        self.row = self.column = 0
        self.style = ""

    def feed(self, text: str) -> None:
        """Write text from where the cursor is."""
        for found in TOKEN.finditer(text):
            numbers, command = found[1], found[2]
            if command is not None:
                self._control(numbers, command)
            elif found[0] == "\r":
                self.column = 0
            elif found[0] == "\n":
                self._go_to(self.row + 1)
            elif not found[0].startswith("\x1b") and found[0].isprintable():
                self._put(found[0])

    def _put(self, letter: str) -> None:
        if self.column == COLUMNS:
            self._go_to(self.row + 1)
            self.column = 0
        self.lines[self.row][self.column] = (letter, self.style)
        self.column += 1

    def _go_to(self, row: int) -> None:
        self.row = max(row, 0)
        while len(self.lines) <= self.row:
            self.lines.append({})

    def _control(self, numbers: str, command: str) -> None:
        count = int(numbers) if numbers.isdigit() else 1
        if command == "m":
            reset = numbers in ("", "0") or numbers.startswith("0;")
            self.style = ("" if reset else self.style) + f"\x1b[{numbers}m" * (
                numbers not in ("", "0")
            )
        elif command in "AB":
            self._go_to(self.row + (count if command == "B" else -count))
        elif command in "CD":
            self.column = max(self.column + (count if command == "C" else -count), 0)
        elif command == "G":
            self.column = count - 1
        elif command == "K":
            whole = numbers == "2"
            line = self.lines[self.row]
            self.lines[self.row] = {
                at: cell for at, cell in line.items() if not whole and at < self.column
            }
        elif command == "J":
            del self.lines[self.row + 1 :]

    def text(self) -> str:
        """Return the last lines that fit the screen, with their colours."""
        used = max((row + 1 for row, line in enumerate(self.lines) if line), default=0)
        return "\n".join(map(_to_ansi, self.lines[max(used - ROWS, 0) : used]))


def _to_ansi(line: dict[int, tuple[str, str]]) -> str:
    parts, last = [], ""
    for at in range(max(line, default=-1) + 1):
        letter, style = line.get(at, (" ", ""))
        if style != last:
            parts.append(f"\x1b[0m{style}")
            last = style
        parts.append(letter)
    return f"{''.join(parts)}\x1b[0m".rstrip()


def make_inputs() -> None:
    """Write photos, and pairs for training, into the working directory."""
    Path("photos").mkdir()
    for number, path in enumerate(sorted(SAMPLES.glob("*.png")), start=1):
        shutil.copy(path, f"photos/street-{number}.png")
    for kind in ("images", "masks"):
        Path("roads", kind).mkdir(parents=True)
    for index in range(PAIRS):
        pixels, label_ids, _ = draw_scene(1, index, SIZE)
        mask = np.full(label_ids.shape, 255, np.uint8)
        for value, group in enumerate(GROUPS):
            mask[np.isin(label_ids, group)] = value
        Image.fromarray(pixels).save(f"roads/images/{index:03}.png")
        Image.fromarray(mask).save(f"roads/masks/{index:03}.png")


def run(command: str) -> Iterator[str]:
    """Run a command in a pseudo-terminal; yield its output as it comes, "" while there is none.

    Raises:
        RuntimeError: the command fails.
    """
    process, terminal = pty.fork()
    if process == 0:
        path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        wide = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
        words = command.split()
        environment = os.environ | wide | {"PYTHONPATH": path, "COLORTERM": "truecolor"}
        os.execve(sys.executable, [sys.executable, "-m", *words], environment)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    decode = getincrementaldecoder("utf-8")("replace").decode
    held = ""
    with suppress(OSError):  # the end of a terminal
        while True:
            ready, _, _ = select.select([terminal], [], [], 0.2)
            if ready:
                text = held + decode(os.read(terminal, 1 << 16))
                unfinished = UNFINISHED.search(text)
                held = unfinished[0] if unfinished else ""
                yield text.removesuffix(held)
            else:
                yield ""
    os.close(terminal)
    if code := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise RuntimeError(f"{command} ended with exit code {code}")


def record() -> list[Picture]:
    """Run the commands, and return what the terminal showed."""
    screen = Screen()
    pictures = []
    for command in COMMANDS:
        screen.feed(f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n")
        pictures.append(Picture(screen.text(), TYPED_S))
        live: list[str] = []
        last = time.monotonic()
        for text in run(command):
            screen.feed(text)
            if time.monotonic() - last > LIVE_S:
                last = time.monotonic()
                live.append(screen.text())
        step = max(1, len(live) // MOST_LIVE)
        for shown in live[step // 2 :: step][:MOST_LIVE]:
            if shown != pictures[-1].text:
                pictures.append(Picture(shown, LIVE_SHOWN_S))
        screen.feed("\x1b[0m\r\n")
        pictures.append(Picture(screen.text(), DONE_S))
    return [*pictures[:-1], Picture(pictures[-1].text, LAST_S)]


def draw(text: str, number: int) -> tuple[str, str]:
    """Return the style sheet and the elements of a picture, as rich draws them."""
    console = Console(
        record=True, width=COLUMNS, file=StringIO(), force_terminal=True, legacy_windows=False
    )
    console.print(Text.from_ansi(text), soft_wrap=True)
    svg = console.export_svg(theme=THEME, code_format=FORMAT, unique_id=f"p{number}")
    styles, drawn, _ = svg.split("\0")
    return styles.strip(), re.sub(r' (clip-path|textLength)="[^"]*"', "", drawn).strip()


def animate(pictures: list[Picture]) -> str:
    """Return an SVG that shows pictures one after the other, again and again."""
    total = sum(picture.seconds for picture in pictures)
    width, height = COLUMNS * CELL[0] + 2 * PAD, ROWS * CELL[1] + TITLE + PAD
    styles, groups, start = [], [], 0.0
    for number, (text, seconds) in enumerate(pictures):
        sheet, drawn = draw(text, number)
        begin, end = 100 * start / total, 100 * (start + seconds) / total
        last = number == len(pictures) - 1
        hidden = f"{end:.2f}%{{visibility:hidden}}" * (not last)
        styles.append(
            f"{sheet}\n@keyframes k{number}{{0%{{visibility:{'hidden' if number else 'visible'}}}"
            f"{begin:.2f}%{{visibility:visible}}{hidden}}}\n"
            f".f{number}{{animation:k{number} {total:.1f}s step-end infinite}}"
        )
        still = "" if last else " h"  # without animations the last picture is seen
        groups.append(f'<g class="f{number}{still}">{drawn}</g>')
        start += seconds
    red, green, blue = THEME.background_color
    dots = "".join(
        f'<circle cx="{22 + 20 * at}" cy="20" r="6" fill="{fill}"/>'
        for at, fill in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'role="img" aria-label="dseg infer, dseg init and dseg train at a terminal">\n'
        f"<style>\ntext{{font-family:{FONT};font-size:20px;white-space:pre}}\n.h{{visibility:hidden}}\n"
        f"{chr(10).join(styles)}\n"
        "@media (prefers-reduced-motion:reduce){g{animation:none !important}}\n</style>\n"
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" '
        f'fill="rgb({red},{green},{blue})"/>\n{dots}\n<g transform="translate({PAD},{TITLE})">\n'
        f"{chr(10).join(groups)}\n</g>\n</svg>\n"
    )


def main() -> None:
    """Record, and write the file."""
    target = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else TARGET
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            make_inputs()
            pictures = record()
        finally:
            os.chdir(before)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(animate(pictures), encoding="utf-8")
    print(f"{target}: {len(pictures)} pictures, {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
