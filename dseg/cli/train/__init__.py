"""``dseg train``: a network and a data set in, trained weights and curves out."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import download_display, progress, say, say_at_once
from dseg.cli.options.groups import DsegCommand
from dseg.cli.options.own_data import data_options, name_dataset
from dseg.cli.stdio import emit_json
from dseg.cli.train.display import training_display
from dseg.cli.train.merge import complete_request, merge_config, merge_runtime, name_distillation
from dseg.cli.train.options import TrainRequest, train_options
from dseg.cli.train.plan import no_network, plan_config
from dseg.config import RuntimeConfig, TrainConfig, make_config
from dseg.errors import EXIT_INTERRUPTED, DsegError, counted, quote
from dseg.recipes.file import is_recipe_file, names_weights, read_recipe_file

if TYPE_CHECKING:
    from dseg.distributed import Group
    from dseg.training import Outcome


@click.command("train", cls=DsegCommand, short_help="Train a network.")
@train_options
@click.pass_context
def train_command(ctx: click.Context, /, **values: Any) -> None:
    """Train a network on a data set, by default with its published recipe.

    \b
    Examples:
      dseg train --data-dir roads --out run
      dseg train --out run --resume
      dseg train --model DABNet --dataset cityscapes --data-dir cityscapes --out run
      torchrun --nproc-per-node 4 -m dseg train --out run --resume

    Own data (folder) and fewer than 1000 images get a plan instead, which dseg plan explains:
    crops that fit the images, counted class weights, and the bundled weights for DABNet.

    The folder RUN gets best.safetensors and last.safetensors, for dseg infer --weights;
    metrics.jsonl, loss.png, miou.png, iou.png, confusion.png and predictions/; run.json with the
    configuration; and state.pt, from which --resume continues to the same bits. Ctrl-C and SIGTERM
    save the state first.
    """
    train_by_options(ctx, values)


def train_by_options(ctx: click.Context, values: dict[str, Any]) -> None:
    """Train as the options of ``dseg train`` or ``dseg distill`` describe.

    Raises:
        DsegError: see ``run_training``; or Ctrl-C before the first step.
    """
    default = click.core.ParameterSource.DEFAULT
    given = frozenset(name for name in values if ctx.get_parameter_source(name) != default)
    request = TrainRequest.take(values, given)
    try:
        _train(request)
    except KeyboardInterrupt:
        raise _interrupted_error(request) from None


def _interrupted_error(request: TrainRequest) -> DsegError:
    from dseg.training.state import has_state

    hint = "no step was saved; start again."
    if not request.dry_run and has_state(request.run):
        hint = f"continue from the last saved state: {request.command}"
    problem = "Interrupted. All files that were written are complete."
    return DsegError(problem, hint=hint, exit_code=EXIT_INTERRUPTED)


def _train(request: TrainRequest) -> None:
    from dseg.distributed import joined
    from dseg.downloads import SILENT, showing
    from dseg.training import run_held, run_training, stopping_on_signals

    if request.dry_run and request.resume:
        raise DsegError(
            "--dry-run tries out a new run, and --resume continues one.",
            hint="leave out one of them.",
        )
    if request.accept_data and not request.resume:
        raise DsegError("--accept-data requires --resume.", hint="leave out --accept-data.")
    runtime = _make_runtime(request)
    device = "cpu" if runtime.device == "cpu" else _kind_of_device(runtime.device)
    quiet = request.quiet
    with (
        joined(device) as group,
        ExitStack() as held,
        showing(download_display(quiet=quiet) if group.main else SILENT),
    ):
        if not request.dry_run:
            acknowledge = say_at_once if group.main else lambda text: None
            stop = held.enter_context(stopping_on_signals(acknowledge))
            held.enter_context(run_held(request.run, group, say))
        group.from_main(lambda: _refuse_other_run(request))
        config = group.from_main(lambda: _make_config(request, group))
        if request.dry_run:
            _try_out(request, config, runtime, group)
            return
        outcome = run_training(
            config,
            runtime,
            request.run,
            group,
            resume=request.resume,
            accept_data=request.accept_data,
            command=" ".join(map(quote, ["dseg", *sys.argv[1:]])),
            show=lambda start: training_display(start, quiet=quiet or not group.main),
            progress=lambda what, total: progress(what, total, quiet=quiet or not group.main),
            stopping=stop,
        )
        if group.main:
            _report(request, config, outcome)
        group.barrier()  # torchrun would end this process with the first that fails
    if outcome.stopped:
        raise click.exceptions.Exit(stop.exit_code or EXIT_INTERRUPTED)


def _try_out(
    request: TrainRequest, config: TrainConfig, runtime: RuntimeConfig, group: Group
) -> None:
    """Do what ``--dry-run`` promises."""
    from dseg.training.trial import try_run

    quiet = request.quiet or not group.main
    trial = try_run(
        config,
        runtime,
        request.run,
        group,
        show=lambda start: training_display(start, quiet=quiet),
        progress=lambda what, total: progress(what, total, quiet=quiet),
    )
    if group.main and request.json_file is not None:
        emit_json(request.json_file, {"run": str(request.run), "dry_run": True, **trial.as_json()})
    group.barrier()


def _kind_of_device(name: str) -> str:
    from dseg.device import find_device

    return find_device(name).type


def _resumes(request: TrainRequest) -> bool:
    """Return True if the folder holds a run that is to be continued."""
    from dseg.training.run_json import RUN_FILE

    return request.resume and (request.run / RUN_FILE).is_file()


def _make_config(request: TrainRequest, group: Group) -> TrainConfig:
    """Return the configuration that the command line describes, or that of the resumed run."""
    from dseg.training import read_config

    if not _resumes(request):
        return _config_of(request, group)
    before = read_config(request.run)
    request = complete_request(request, before)
    return merge_config(request, before, _config_of(request, group))


def _config_of(request: TrainRequest, group: Group) -> TrainConfig:
    """Return the configuration that the command line describes by itself."""
    from dseg.planning import NETWORK

    values = dict(request.config)
    model, recipe = values.pop("model"), values.pop("recipe_name")
    if model is None and is_recipe_file(recipe):
        model = read_recipe_file(Path(recipe)).model
    if not model and recipe:
        raise no_network()
    names, folders = request.dataset_names, request.data_dirs
    if not names:
        names = tuple(name_dataset(None, folder, values["class_file"]) for folder in folders)
    if not names or len(names) != len(folders):
        raise DsegError(
            f"{counted(len(names), 'data set')} and {counted(len(folders), 'folder')} are named."
            if names or folders
            else f"No data set is named, and {request.run} has no run to resume."
            if request.resume
            else "No data set is named.",
            hint="give each --dataset its --data-dir, for example: --dataset camvid --data-dir "
            "CamVid",
        )
    _check_weights(values)
    if values["val_split"] == "none":
        values["val_split"] = ""
    values["label_space"] = values["label_space"].lower()
    config = make_config(
        model or NETWORK,
        [(name, str(folder)) for name, folder in zip(names, folders, strict=True)],
        recipe=recipe,
        overrides=request.recipe_overrides(),
        distillation=name_distillation(request, resumed=_resumes(request)),
        world_size=group.world_size,
        **values,
    )
    if recipe or _resumes(request):
        return config
    return plan_config(request, config, named=bool(model))


def _check_weights(values: dict[str, Any]) -> None:
    """Refuse options on initial weights that contradict each other."""
    named = names_weights(values["weights"])
    if named and values["backbone_weights"]:
        raise DsegError(
            "--weights and --backbone-weights both name the initial weights of the backbone.",
            hint="give one of them.",
        )
    for option, used in {
        "--reset-head": values["reset_head"],
        "--inplace-abn": values["inplace_abn"] is not None,
        "--raw-weights": values["raw_weights"],
    }.items():
        if used and not named:
            raise DsegError(
                f"{option} requires --weights.",
                hint=f"name a checkpoint by --weights, or leave out {option}.",
            )


def _refuse_other_run(request: TrainRequest) -> None:
    """Refuse to write over another run."""
    from dseg.training.run_json import RUN_FILE

    if (request.run / RUN_FILE).exists() and not request.resume:
        raise DsegError(
            f"{request.run} already contains a run.",
            hint="continue it with --resume, or name another --out.",
        )


def _make_runtime(request: TrainRequest) -> RuntimeConfig:
    """Return the runtime options that are given, and for others those of the resumed run."""
    from dseg.training.run_json import read_runtime

    values = request.runtime
    if values["cache_dir"] and values["cache"] != "disk" and "cache" in request.given:
        raise DsegError("--cache-dir requires --cache disk.", hint="leave out --cache-dir.")
    named = RuntimeConfig(**values)
    return merge_runtime(request, read_runtime(request.run)) if _resumes(request) else named


def _report(request: TrainRequest, config: TrainConfig, outcome: Outcome) -> None:
    best = f"{100 * outcome.best:.2f} %" if outcome.best >= 0 else "not validated"
    facts = {"run": str(request.run), **outcome.as_json()}
    if request.json_file is not None:
        score = outcome.best if outcome.best >= 0 else None
        emit_json(request.json_file, {**facts, "best_miou": score})
    if outcome.stopped:
        say(f"Stopped after step {outcome.step}. Continue: {request.command}")
        return
    if outcome.idle:
        say("Nothing left to do.")
    elif outcome.early:
        say("Ended early: the mIoU has not improved for as many validations as --patience allows.")
    steps = counted(outcome.step, "step")
    say(f"Trained {steps}; best validation mIoU: {best}. Results: {request.run}")
    if outcome.best >= 0:
        _say_what_is_next(quote(request.run / "best.safetensors"), config)


def _say_what_is_next(weights: str, config: TrainConfig) -> None:
    """Name the commands that score the images held back, and that label others."""
    split = config.val_split
    if len(config.datasets) == 1 and split and not split.replace(".", "", 1).isdigit():
        held_back = "" if split == "val" else split
        words = data_options(
            *config.datasets[0], config.class_file, config.label_space, split=held_back
        )
        say(f"Next: dseg eval -w {weights} {words}")
    say(f"Next: dseg infer -w {weights} PHOTOS")
