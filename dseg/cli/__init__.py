"""The ``dseg`` command: its subcommands, and how errors are shown."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
import warnings
from typing import Any

import click
import cloup

from dseg import __version__
from dseg.cli.bench import bench
from dseg.cli.cache import cache
from dseg.cli.check_data import check_data
from dseg.cli.console import fit, say
from dseg.cli.demo import demo
from dseg.cli.distill import distill_command
from dseg.cli.download import download
from dseg.cli.eval import eval_command
from dseg.cli.export import export_command
from dseg.cli.infer import infer
from dseg.cli.infer.multiscale import multiscale_infer
from dseg.cli.init import init
from dseg.cli.inspect import inspect
from dseg.cli.models import models
from dseg.cli.options.groups import DsegContext
from dseg.cli.plan import plan
from dseg.cli.recipes import recipes
from dseg.cli.scenes import scenes
from dseg.cli.stdio import Streams
from dseg.cli.train import train_command
from dseg.cli.transfer_labels import transfer_labels
from dseg.errors import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, EXIT_USAGE, DsegError, suggest
from dseg.memory import is_out_of_memory
from dseg.parallel import prepare_threads
from dseg.plugins import PluginWarning

ALIASES = {"transfer": "transfer-labels"}
OTHER_NAMES = {  # of commands in other toolkits
    **dict.fromkeys(("predict", "segment", "detect", "video", "run", "label"), "infer"),
    **dict.fromkeys(("test", "val", "validate", "evaluate", "score"), "eval"),
    **dict.fromkeys(("fit", "finetune", "fine-tune"), "train"),
    **dict.fromkeys(("benchmark", "profile"), "bench"),
    **dict.fromkeys(("list", "zoo", "networks"), "models"),
    **dict.fromkeys(("convert",), "transfer-labels or export"),
    **dict.fromkeys(("new", "create", "setup"), "init"),
}


class DsegGroup(cloup.Group):
    """A command group with aliases that suggests the nearest command and reports errors."""

    context_class = DsegContext

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            other = OTHER_NAMES.get(name.lower())
            guess = f"did you mean {other}? " if other else ""
            guess = guess or suggest(name, [*self.commands, *ALIASES])
            ctx.fail(f"No command named {name!r}. {guess.capitalize()}List all: dseg --help")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; a result that standard output does not accept is an error."""
        streams = Streams()
        # patterns are read by the commands, on all systems with the same names of results
        kwargs.setdefault("windows_expand_args", False)
        try:
            return super().main(*args, **kwargs)
        except SystemExit as end:
            fault = streams.lost_result
            if fault is None or end.code not in (None, 0):
                raise
            if fault.errno != errno.EPIPE:  # the reader of the pipe has closed it
                say(f"Error: standard output cannot be written: {fault.strerror}.")
                say("Hint: free some space, or write to a file.")
            raise SystemExit(EXIT_FAILED_INPUTS) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as fault:
            if os.environ.get("RANK", "0") != "0":  # the first reports it; torchrun ends all
                time.sleep(10)
                ctx.exit(EXIT_USAGE)
            text = fit(f"Error: {fault.format_message()}", err=True).removeprefix("Error: ")
            raise click.UsageError(text, fault.ctx) from fault
        except DsegError as fault:
            say(f"Error: {fault.problem}")
            say(f"Hint: {fault.hint}")
            ctx.exit(fault.exit_code)
        except Exception as fault:
            if is_out_of_memory(fault):
                _report_memory(fault)
                ctx.exit(EXIT_FAILED_INPUTS)
            if not isinstance(fault, OSError):
                raise
            where = f"{fault.filename}: " if fault.filename else ""
            say(f"Error: {where}{fault.strerror or fault}.")
            say("Hint: check the path, its owner, and the free space on the disk.")
            ctx.exit(EXIT_USAGE)
        except KeyboardInterrupt:
            say("Interrupted. All files that were written are complete. Run again to continue.")
            ctx.exit(EXIT_INTERRUPTED)


def _report_memory(fault: Exception) -> None:
    """Report that memory ran out, after the objects of the failed work are released."""
    traceback.clear_frames(fault.__traceback__)
    lines = str(fault).strip().splitlines()
    say(f"Error: Memory ran out{f': {lines[0][:200]}' if lines else ''}.")
    say("Hint: close other programs, or use smaller images, smaller batches or fewer workers.")


@click.group(cls=DsegGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="dseg")
def main() -> None:
    """Segment street images and score the result.

    \b
    Your photos, or your own images and masks:
      dseg infer --model dabnet photos
      dseg init roads
      dseg train --data-dir roads --out run
      dseg eval -w run/best.safetensors --data-dir roads

    \b
    Cityscapes: images in, masks of label ids out, the official score:
      dseg infer --model DenseASPP161 --img-dir leftImg8bit/val --out results
      dseg eval --pred-dir results/label_ids --gt-dir gtFine/val

    Exit codes: 0 all done; 1 ran, but some inputs failed, the results could not be
    written, or memory ran out; 2 wrong usage or nothing to do; 3 checkpoint missing
    or not that of the network; 4 a verification failed; 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):  # file names are printed even in an ASCII locale
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    # Mostly about metadata of files; unreadable files are reported by our own messages.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.formatwarning = _format_warning
    prepare_threads()


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return what a warning shows: of packages that add networks or data sets only its text."""
    if issubclass(category, PluginWarning):
        return f"WARNING: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


for _title, _commands in {
    "Images": (infer, multiscale_infer, transfer_labels),
    "Scores": (eval_command, check_data),
    "Training": (init, plan, train_command, distill_command, recipes, cache, scenes),
    "Networks and weights": (models, download, inspect, demo),
    "Speed": (bench, export_command),
}.items():
    main.section(_title, *_commands)
