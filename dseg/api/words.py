"""Errors in the words of Python: options of the command line become arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from dseg.config.fields import option_specs
from dseg.errors import DsegError

P = ParamSpec("P")
R = TypeVar("R")
# A command, which stays as it is, or an option, with a placeholder or a value that ends a clause.
OPTION = re.compile(
    r"\bdseg [a-z-]+[^,;()]*"
    r"|(?<![\w-])--([a-z][a-z0-9-]*[a-z0-9])(?: ([A-Z]+\b|[a-z][\w-]*(?=[.,;)](?:\s|$))))?"
)
RENAMED = {"set": "overrides", "classes": "class_file", "data-dir": "data"}


def in_python(
    *configs: type[Any], others: Iterable[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for a function whose errors name its arguments in place of options.

    Options that the function has no argument for stay as they are.

    Args:
        configs: configurations whose options set fields of other names.
        others: names of arguments beside those in the function's signature.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        arguments = {*inspect.signature(function).parameters, *others}
        names = _arguments_by_option(configs, arguments)

        @wraps(function)
        def reworded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except DsegError as fault:
                fault.problem, fault.hint = (_reword(t, names) for t in (fault.problem, fault.hint))
                raise

        return reworded

    return decorate


def _arguments_by_option(configs: Iterable[type[Any]], arguments: set[str]) -> dict[str, str]:
    names = {name.replace("_", "-"): name for name in arguments}
    names |= {option: name for option, name in RENAMED.items() if name in arguments}
    if "dataset" not in arguments and "data" in arguments:
        names["dataset"] = "data"
    for config in configs:
        for name, spec in option_specs(config).items():
            flags = [flag for flags in spec.flags for flag in flags.split("/")]
            for flag in flags if name in arguments else ():
                value = "=False" if flag.startswith("--no-") else ""
                names[flag.lstrip("-")] = f"{name}{value}"
    return names


def _reword(text: str, names: dict[str, str]) -> str:
    def rename(found: re.Match[str]) -> str:
        name, value = names.get(found[1]), found[2]
        if name is None:
            return found[0]
        if value is None:
            return name
        if found[1] == "dataset" and name == "data":
            return f'data=("{value}", FOLDER)'
        return f"{name}={value}" if value.isupper() else f'{name}="{value}"'

    return OPTION.sub(rename, text)
