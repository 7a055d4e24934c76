"""DsegError, which reports a problem and a hint for solving it, and the exit codes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from difflib import get_close_matches

EXIT_FAILED_INPUTS = 1  # the run ended, but some inputs failed; or memory ran out
EXIT_USAGE = 2  # wrong option, nothing to do, or unusable input
EXIT_MISFIT = 3  # checkpoint missing, refused, or of another network
EXIT_VERIFICATION = 4  # a requested comparison or threshold failed
EXIT_INTERRUPTED = 130  # Ctrl-C


def suggest(
    name: str,
    known: Iterable[str],
    *,
    most: int = 1,
    cutoff: float = 0.6,
    key: Callable[[str], str] = str,
) -> str:
    """Return "did you mean A or B? " for a hint, "" if no known name is similar.

    Args:
        name: the unknown name.
        known: names to choose from.
        most: number of names in the answer, at most.
        cutoff: similarity from which a name counts, 0 to 1.
        key: spelling of a name in which names are compared.
    """
    names = {key(other): other for other in known}
    near = [names[other] for other in get_close_matches(key(name), names, n=most, cutoff=cutoff)]
    return f"did you mean {' or '.join(near)}? " if near else ""


class Detail(str):
    """A note that is shown to those who ask for details, by ``--verbose`` or ``dseg inspect``."""

    __slots__ = ()


def counted(number: float, what: str, many: str = "") -> str:
    """Return a number with its noun: "1 image", "2,000 images".

    Args:
        number: integers get thousands separators.
        what: the noun in the singular.
        many: its plural, if that is not ``what`` with an s.
    """
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {what if number == 1 else many or what + 's'}"


def quote(path: object) -> str:
    """Return a path as a word of a command line in a hint: of cmd.exe on Windows, else of a shell.

    PowerShell reads both.
    """
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline([str(path)])
    return shlex.quote(str(path))


class DsegError(Exception):
    """An error that the user can correct; the command line prints it without a stack trace.

    Example:
        >>> try:
        ...     model = dseg.load_model(weights="run/best.safetensors")
        ... except dseg.DsegError as error:
        ...     print(error.problem, error.hint)

    Args:
        problem: what is wrong, with the values.
        hint: what to do about it.
        exit_code: exit code of the command.
    """

    def __init__(self, problem: str, *, hint: str, exit_code: int = EXIT_USAGE):
        super().__init__(problem, hint, exit_code)  # all three, for pickling
        self.problem = problem
        self.hint = hint
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.problem, self.hint, self.exit_code)

    def __str__(self) -> str:
        return f"{self.problem}\nHint: {self.hint}"


class CheckpointError(DsegError):
    """A checkpoint is missing, refused, or made for another network."""

    def __init__(self, problem: str, *, hint: str, exit_code: int = EXIT_MISFIT):
        super().__init__(problem, hint=hint, exit_code=exit_code)


class NotFiniteError(DsegError):
    """The scores of a network for an image are NaN or infinite."""


def _rebuild(kind: type[DsegError], problem: str, hint: str, exit_code: int) -> DsegError:
    """Rebuild a pickled error."""
    return kind(problem, hint=hint, exit_code=exit_code)
