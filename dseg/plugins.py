"""Networks and data sets of other packages, found by their entry points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dseg.errors import DsegError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Spec = TypeVar("Spec")
MAX_REASON = 200  # characters of an error's message


class PluginWarning(UserWarning):
    """A package registers a network or a data set that cannot be used."""


class Table(MutableMapping[str, Spec], Generic[Spec]):
    """A table whose built-in entries come first, followed by those of installed packages.

    Entry points are read when a name is looked up that is not built in, or when all names are
    listed. An entry that cannot be loaded is left out with one warning.

    Args:
        built_in: the entries of dseg.
        group: group of entry points, such as ``dseg.models``. The name of an entry point is the
            key, its object the entry or a function without arguments that returns it.
        kind: type of the entries.
        what: what an entry is, for messages.
        key: spelling of a name in which names are compared.
        check: raises a DsegError for an entry of a package that is of no use.
    """

    def __init__(
        self,
        built_in: Mapping[str, Spec],
        group: str,
        kind: type[Spec],
        what: str,
        key: Callable[[str], str],
        check: Callable[[Spec], None] = lambda entry: None,
    ):
        self.built_in = dict(built_in)
        self.faults: dict[str, str] = {}  # what is wrong with an entry, by its name
        self._group, self._kind, self._what, self._key = group, kind, what, key
        self._check = check

    @cached_property
    def _added(self) -> dict[str, Spec]:
        """The entries of packages."""
        taken = {self._key(name) for name in self.built_in}
        found: dict[str, Spec] = {}
        for point in sorted(self._points(), key=lambda point: (point.name, point.value)):
            try:
                if self._key(point.name) in taken:
                    raise ValueError(f"there is another {self._what} of this name")
                found[point.name] = self._load(point)
                taken.add(self._key(point.name))
            except Exception as fault:  # a package's module can raise anything
                self._note(point, fault)
        return found

    def _points(self) -> Iterable[EntryPoint]:
        from importlib.metadata import entry_points  # not needed by most commands

        return set(entry_points(group=self._group))

    def _load(self, point: EntryPoint) -> Spec:
        loaded: Any = point.load()
        if callable(loaded) and not isinstance(loaded, self._kind):
            loaded = loaded()
        if not isinstance(loaded, self._kind):
            raise TypeError(f"it gives {type(loaded).__name__}, not {self._kind.__name__}")
        self._check(loaded)
        return loaded

    def _note(self, point: EntryPoint, fault: Exception) -> None:
        """Remember what is wrong with an entry, and warn."""
        package = point.dist.name if point.dist is not None else point.value
        reason = fault.problem if isinstance(fault, DsegError) else str(fault)
        line = " ".join(reason.split())[:MAX_REASON].rstrip(".") or type(fault).__name__
        if not isinstance(fault, DsegError | ValueError | TypeError):
            line = f"{type(fault).__name__}: {line}"
        text = f"the {self._what} {point.name} of the package {package} cannot be used: {line}."
        self.faults.setdefault(self._key(point.name), f"{text[0].upper()}{text[1:]}")
        warnings.warn(text, PluginWarning, stacklevel=2)

    def __getitem__(self, name: str) -> Spec:
        if name in self.built_in:
            return self.built_in[name]
        return self._added[name]

    def __setitem__(self, name: str, entry: Spec) -> None:
        self.built_in[name] = entry

    def __delitem__(self, name: str) -> None:
        del self.built_in[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        yield from self._added

    def __len__(self) -> int:
        return len(self.built_in) + len(self._added)

    def refuse_broken(self, name: str) -> None:
        """Raise a DsegError if a package registers an entry of that name that cannot be used."""
        wanted = self._key(name)
        known = {self._key(own) for own in self}  # loads them
        if wanted in self.faults and wanted not in known:
            raise DsegError(self.faults[wanted], hint="update or uninstall the package.")
