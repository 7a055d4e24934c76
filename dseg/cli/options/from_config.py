"""Click options made from the fields of configuration dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, get_args, get_type_hints

import click

from dseg.cli.options.groups import group
from dseg.cli.options.types import (
    DatasetName,
    Fraction,
    ImageSize,
    ModelName,
    Number,
    Option,
    Precision,
    Scales,
    SizeOrDynamic,
    file_type,
)
from dseg.config.fields import OptionSpec, option_specs

LONG_CHOICE = 30  # columns above which choices are listed in the description


def options_of(
    config: type[Any], shown_defaults: Mapping[str, str] | None = None
) -> dict[str, Option]:
    """Return the click options of a configuration dataclass by field name, in its order.

    Each option sets the parameter of its field's name, and is in the group of its field.

    Args:
        config: dataclass whose fields were made by ``dseg.config.fields.option``.
        shown_defaults: defaults in words, by field name, where a command has others.
    """
    hints = get_type_hints(config)
    own = {field.name: field for field in fields(config)}
    words = shown_defaults or {}
    return {
        name: _make_option(own[name], spec, hints[name], words.get(name, spec.shown_default))
        for name, spec in option_specs(config).items()
    }


def _make_option(field: Field[Any], spec: OptionSpec, hint: Any, shown_default: str) -> Option:
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    attributes: dict[str, Any] = {"default": None if field.default is MISSING else field.default}
    if bool in kinds:
        if "/" not in spec.flags[-1]:
            attributes["is_flag"] = True
    else:
        attributes |= {"type": _find_type(spec, kinds), "metavar": spec.metavar}
        attributes["multiple"] = field.default == ()
    text = spec.help
    if len("|".join(spec.choices)) > LONG_CHOICE:
        attributes["metavar"] = "NAME"
        text = f"{text} One of: {', '.join(spec.choices)}."
    default = attributes["default"]
    if default == "" and spec.kind:  # a path that is "" on the command line is not the default
        attributes |= {"default": None, "callback": _none_as_empty}
    if spec.envvar:
        attributes |= {"envvar": spec.envvar, "show_envvar": True}
    if shown_default:
        attributes["help"] = f"{text}  [default: {shown_default}]"
    elif default not in (None, "", ()) and default is not False:
        attributes["show_default"] = True
    made = click.option(*spec.flags, field.name, **{"help": text, **attributes})
    return group(spec.group, made)


def _none_as_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    return "" if value is None else value


def _find_type(spec: OptionSpec, kinds: list[Any]) -> click.ParamType[Any] | type[Any]:
    """Return the type that reads an option's value."""
    if spec.choices:
        return click.Choice(spec.choices)
    if spec.kind in ("file", "folder"):
        return file_type(folder=spec.kind == "folder", as_text=str in kinds)
    by_kind: dict[str, click.ParamType[Any]] = {
        "network": ModelName(),
        "dataset": DatasetName(),
        "size": ImageSize(),
        "size or dynamic": SizeOrDynamic(),
        "scales": Scales(),
        "fraction": Fraction(),
        "precision": Precision(),
    }
    if spec.kind:
        return by_kind[spec.kind]
    if int in kinds:
        return click.IntRange(_whole(spec.low), _whole(spec.high))
    if float in kinds:
        return Number(spec.low, spec.high)
    return str


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)
