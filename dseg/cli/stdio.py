"""Standard streams that never stop the work, and results for a file or stdout."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from dseg.errors import EXIT_FAILED_INPUTS, DsegError

CLOSED = OSError(errno.EBADF, "it is closed")


class _Stream(io.RawIOBase):
    """Writes to a file descriptor until a write fails, then discards.

    Args:
        descriptor: 1 or 2.
        fault: error that prevents writing from the start.

    Attributes:
        fault: error of the first write that failed, or None.
        lost: True if data were discarded.
    """

    def __init__(self, descriptor: int, fault: OSError | None = None):
        self._descriptor, self.fault, self.lost = descriptor, fault, False
        self.name = ("<stdin>", "<stdout>", "<stderr>")[descriptor]

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        try:
            while rest and self.fault is None:
                rest = rest[os.write(self._descriptor, rest) :]
        except BlockingIOError:  # a non-blocking pipe of another program; the rest is dropped
            self.lost = True
        except OSError as fault:
            self.fault = fault
        self.lost = self.lost or bool(rest)
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return self.fault is None and os.isatty(self._descriptor)


class Streams:
    """The standard streams of the process in a form that does not fail.

    Streams that were replaced, as in tests, are left alone.
    """

    def __init__(self) -> None:
        self._stdout: _Stream | None = None
        closed = _open_closed()
        if sys.stdin is None:
            sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 (for the process)
        if _may_be_replaced(sys.stdout, sys.__stdout__):
            self._stdout = _Stream(1, CLOSED if 1 in closed else None)
            sys.stdout = _text(self._stdout, sys.stdout)
        if _may_be_replaced(sys.stderr, sys.__stderr__):
            sys.stderr = _text(_Stream(2, CLOSED if 2 in closed else None), sys.stderr)

    @property
    def lost_result(self) -> OSError | None:
        """Error that kept a part of the result from standard output; None if all was written."""
        if self._stdout is None or not self._stdout.lost:
            return None
        return self._stdout.fault or OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _open_closed() -> set[int]:
    """Open closed standard descriptors, so that no other file gets their numbers."""
    closed = set()
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    return closed


def _may_be_replaced(stream: Any, first: Any) -> bool:
    if stream is None:
        return first is None
    # terminals on Windows handle Unicode differently
    return stream is first and not (os.name == "nt" and stream.isatty())


def _text(raw: _Stream, before: Any) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    with suppress(OSError, ValueError, AttributeError):
        before.flush()
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", write_through=True)


def emit_json(target: Path, value: object) -> None:
    """Write strict JSON (a NaN is an error) to a file or, for ``-``, to stdout.

    Stdout can have any encoding, so its JSON is ASCII.
    """
    from dseg.jsonio import dumps

    to_stdout = str(target) == "-"
    emit_text(target, dumps(value, ensure_ascii=to_stdout))


def emit_text(target: Path, text: str) -> None:
    """Write a text to a file, to stdout for ``-``, or to a device or pipe.

    Raises:
        DsegError: it cannot be written.
    """
    if str(target) == "-":
        click.echo(text, nl=False)
        return
    # file names that are not UTF-8 contain lone surrogates; JSON can escape them
    data = text.encode(errors="backslashreplace")
    if target.exists() and not target.is_file() and not target.is_dir():
        try:
            target.write_bytes(data)  # a device or pipe must not be replaced by a file
        except OSError as fault:
            raise DsegError(
                f"{target} cannot be written: {fault.strerror}.",
                hint="name a file.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault
        return
    from dseg.files import written_whole

    with written_whole(target) as part:
        part.write_bytes(data)
