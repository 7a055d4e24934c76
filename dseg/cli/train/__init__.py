"""``dseg train``: a network and a data set in, trained weights and curves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import progress, say, training_display
from dseg.cli.output import write_json
from dseg.cli.train.options import TrainOptions, training_options
from dseg.cli.train.resume import fill_in, keep_conditions, keep_settings
from dseg.errors import EXIT_INTERRUPTED, DsegError

if TYPE_CHECKING:
    from dseg.distributed import Group
    from dseg.recipes import Recipe
    from dseg.training import Outcome, RuntimeConfig, TrainConfig


@click.command(short_help="Train a network.")
@training_options
@click.pass_context
def train(ctx: click.Context, /, **values: Any) -> None:
    """Train a network on a data set, by its published recipe unless told otherwise.

    The folder RUN gets best.safetensors and last.safetensors, for dseg infer --weights;
    metrics.jsonl, loss.png, miou.png, confusion.png and predictions/; run.json, what was trained
    how; and state.pt, from which --resume goes on to the same bits. Ctrl-C and SIGTERM save first.

    \b
    Examples:
      dseg train --model DABNet --dataset scenes --data-dir scenes --out run --epochs 20
      dseg train --out run --resume
      torchrun --nproc-per-node 4 -m dseg train --model DABNet --dataset cityscapes \\
        --data-dir cityscapes --out run --resume
    """
    default = click.core.ParameterSource.DEFAULT
    given = frozenset(name for name in values if ctx.get_parameter_source(name) != default)
    options = TrainOptions(**values, given=given)
    try:
        _train(options)
    except KeyboardInterrupt:
        raise DsegError(
            "Interrupted; what is written is whole.",
            hint=f"go on from the last saved state: dseg train --resume --out {options.run}",
            exit_code=EXIT_INTERRUPTED,
        ) from None


def _train(options: TrainOptions) -> None:
    from dseg.distributed import joined
    from dseg.training import run_held, run_training, stopping_on_signals

    if options.accept_data and not options.resume:
        raise DsegError(
            "--accept-data is about --resume, which is not there.", hint="leave it out."
        )
    conditions = _find_conditions(options)
    device = "cpu" if conditions.device == "cpu" else _kind_of_device(conditions.device)
    with (
        joined(device) as group,
        stopping_on_signals() as stop,
        run_held(options.run, group, say),
    ):
        settings = group.from_main(lambda: _find_settings(options, group))
        group.from_main(lambda: _claim(options, settings))
        outcome = run_training(
            settings,
            conditions,
            options.run,
            group,
            resume=options.resume,
            accept_data=options.accept_data,
            show=lambda steps, first: training_display(
                steps, first, quiet=options.quiet or not group.main
            ),
            progress=lambda what, total: progress(
                what, total, quiet=options.quiet or not group.main
            ),
            stopping=stop,
        )
        if group.main:
            _report(options, outcome)
        group.barrier()  # torchrun would end this process with the first that ends otherwise than 0
    if outcome.stopped:
        raise click.exceptions.Exit(stop.exit_code or EXIT_INTERRUPTED)


def _kind_of_device(name: str) -> str:
    from dseg.device import find_device

    return find_device(name).type


def _find_settings(options: TrainOptions, group: Group) -> TrainConfig:
    """Return the settings that the options ask for; of a run to resume, the ones it has."""
    from dseg.training import read_config

    if not _goes_on(options):
        return _make_settings(options, group)
    before = read_config(options.run)
    named = _make_settings(fill_in(options, before), group)
    return keep_settings(options, before, named, _find_overrides(options))


def _goes_on(options: TrainOptions) -> bool:
    from dseg.training.run_file import RUN_FILE

    return options.resume and (options.run / RUN_FILE).is_file()


def _make_settings(options: TrainOptions, group: Group) -> TrainConfig:
    from dseg.training import TrainConfig

    if options.model is None:
        raise DsegError(
            "No network is named.", hint="name it by --model, for example DABNet (dseg models)."
        )
    if not options.names or len(options.names) != len(options.roots):
        raise DsegError(
            f"{len(options.names)} data sets are named, and {len(options.roots)} folders.",
            hint="give each --dataset its --data-dir, for example: --dataset camvid --data-dir "
            "CamVid",
        )
    if options.weights is not None and options.backbone_weights:
        raise DsegError(
            "--weights and --backbone-weights both say what the backbone starts from.",
            hint="give one of them.",
        )
    if options.reset_head and options.weights is None:
        raise DsegError(
            "--reset-head leaves out the classifier of --weights, but there are none.",
            hint="name a checkpoint by --weights, or leave --reset-head out.",
        )
    for option, used in {
        "--inplace-abn": options.inplace_abn is not None,
        "--raw-weights": options.raw_weights,
    }.items():
        if used and options.weights is None:
            raise DsegError(
                f"{option} is about --weights, but there are none.",
                hint=f"name a checkpoint by --weights, or leave {option} out.",
            )
    name, recipe = _find_recipe(options)
    return TrainConfig(
        model=options.model,
        datasets=tuple(
            (name.lower(), str(root))
            for name, root in zip(options.names, options.roots, strict=True)
        ),
        split=options.split,
        val_split="" if options.val_split == "none" else options.val_split,
        label_space=options.label_space.lower(),
        class_file=str(options.classes or ""),
        recipe_name=name,
        recipe=recipe,
        weights=str(options.weights or ""),
        reset_head=options.reset_head,
        inplace_abn=options.inplace_abn,
        raw_weights=options.raw_weights,
        backbone_weights=options.backbone_weights,
        seed=options.seed,
        deterministic=options.deterministic,
        amp=options.amp,
        tf32=options.tf32,
        on_bad_data=options.on_bad_data,
        world_size=group.world_size,
    )


def _find_recipe(options: TrainOptions) -> tuple[str, Recipe]:
    from dseg.recipes import find_recipe
    from dseg.registry import MODELS

    assert options.model is not None
    name = options.recipe_name or MODELS[options.model].recipe
    return name, find_recipe(name).override(_find_overrides(options))


def _find_overrides(options: TrainOptions) -> list[str]:
    shortcuts = []
    if options.epochs is not None:
        shortcuts += [f"epochs={options.epochs}", "steps=0"]
    if options.batch_size is not None:
        shortcuts.append(f"batch={options.batch_size}")
    return [*options.overrides, *shortcuts]


def _claim(options: TrainOptions, settings: TrainConfig) -> None:
    """Refuse to write over another run."""
    from dseg.training.run_file import RUN_FILE

    if (options.run / RUN_FILE).exists() and not options.resume:
        raise DsegError(
            f"{options.run} holds a run already.",
            hint="go on with it by --resume, or name another --out.",
        )


def _find_conditions(options: TrainOptions) -> RuntimeConfig:
    """Return the conditions that the options ask for; of a run to resume, else the ones it had."""
    from dseg.training import RuntimeConfig
    from dseg.training.run_file import read_runtime

    if options.cache_dir is not None and options.cache != "disk" and "cache" in options.given:
        raise DsegError(
            "--cache-dir is about --cache disk, which is not there.", hint="leave it out."
        )
    named = RuntimeConfig(
        device=options.device,
        workers=options.workers,
        cache=options.cache,
        cache_dir=str(options.cache_dir or ""),
        validate_every=options.validate_every,
        save_every=options.save_every,
        log_every=options.log_every,
        draw=options.draw,
        tensorboard=options.tensorboard,
        compile=options.compiled,
        checkpoint_activations=options.checkpoint_activations,
        check_data=not options.no_check,
    )
    if not _goes_on(options):
        return named
    return keep_conditions(options, read_runtime(options.run), named)


def _report(options: TrainOptions, outcome: Outcome) -> None:
    best = f"{100 * outcome.best:.2f} %" if outcome.best >= 0 else "not validated"
    facts = {"run": str(options.run), "step": outcome.step, "stopped": outcome.stopped}
    if options.json_file is not None:
        write_json(
            options.json_file, {**facts, "best_miou": outcome.best if outcome.best >= 0 else None}
        )
    if outcome.stopped:
        say(f"Stopped after step {outcome.step}. Go on: dseg train --resume --out {options.run}")
        return
    if outcome.idle:
        say("Nothing was left to do.")
    say(f"Trained {outcome.step} steps; best validation mIoU: {best}. Results: {options.run}")
    if outcome.best >= 0:
        weights = options.run / "best.safetensors"
        say(f"Next: dseg infer --weights {weights} --img-dir DIR")
