"""Write JSON and text to files or to standard output."""

from __future__ import annotations

from pathlib import Path

import click

from dseg.errors import EXIT_FAILED_INPUTS, DsegError


def write_json(target: Path, value: object) -> None:
    """Write strict JSON (a NaN is an error) to a file or, for ``-``, to stdout.

    Stdout can have any encoding, so its JSON is ASCII.
    """
    from dseg.jsonio import dumps

    to_stdout = str(target) == "-"
    write_text(target, dumps(value, ensure_ascii=to_stdout))


def write_text(target: Path, text: str) -> None:
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
