"""The options of ``dseg eval``, and which of them contradict each other."""

from __future__ import annotations

from dseg.cli.options.from_config import options_of
from dseg.cli.options.types import Command
from dseg.config import EvalConfig, NetworkConfig
from dseg.errors import DsegError


def eval_options(command: Command) -> Command:
    """Add the options of ``dseg eval``."""
    own, network = options_of(EvalConfig), options_of(NetworkConfig)
    for option in reversed([*own.values(), *network.values()]):
        command = option(command)
    return command


def check_options(config: EvalConfig) -> None:
    """Refuse options that contradict each other.

    Raises:
        DsegError: names the first two that do.
    """
    _check_predictions(config)
    _check_truth(config)
    _check_engine(config)
    if config.per_image and config.csv_file is None and config.json_file is None:
        raise DsegError(
            "--per-image requires --json or --csv.", hint="name a file with one of them, or both."
        )
    if str(config.csv_file) == str(config.json_file) == "-":
        raise DsegError("JSON and CSV cannot both go to stdout.", hint="give one of them a file.")
    if config.network.named:
        config.network.check()


def _check_predictions(config: EvalConfig) -> None:
    """Refuse missing predictions, masks and a network at once, and options of the other kind."""
    if config.pred_dir is not None:
        for option in config.network.changed():
            raise DsegError(
                f"{option} cannot be combined with --pred-dir, whose masks already exist.",
                hint="leave out one of the two.",
            )
        return
    if not config.network.named:
        raise DsegError(
            "Neither predictions nor a network are named.",
            hint="name masks with --pred-dir DIR, or a network with --model or --weights.",
        )
    if config.dataset is None:
        if config.data_dir is not None:
            from dseg.datasets.layouts import refuse_missing

            refuse_missing("folder", config.data_dir)
        raise DsegError(
            "To score a network, a data set is needed.",
            hint="name one with --dataset and --data-dir; --gt-dir does not name the images.",
        )
    for option, used in {
        "--pred-ids": config.pred_ids is not None,
        "--official": config.official,
        "--allow-missing": config.allow_missing,
    }.items():
        if used:
            raise DsegError(
                f"{option} is for masks, but a network is scored.",
                hint=f"leave out {option}, or write masks with dseg infer and name --pred-dir.",
            )


def _check_truth(config: EvalConfig) -> None:
    """Refuse missing or ambiguous ground truth, and a data set without its folder."""
    if config.dataset is not None:
        _check_dataset(config, config.dataset)
    elif config.class_file is not None:
        raise DsegError("--classes requires --data-dir.", hint="give both, or neither.")
    if (config.gt_dir is None) == (config.data_dir is None):
        what = "No ground truth is" if config.gt_dir is None else "Two ground truths are"
        raise DsegError(
            f"{what} named.",
            hint="give one of --gt-dir gtFine/val and --data-dir cityscapes.",
        )


def _check_dataset(config: EvalConfig, name: str) -> None:
    """Refuse options that cannot be combined with ``--dataset``."""
    named = {
        "--gt-dir": config.gt_dir is not None,
        "--num-classes": config.num_classes is not None,
        "--ignore": bool(config.ignore),
    }
    for option, used in named.items():
        if used:
            raise DsegError(
                f"{option} cannot be combined with --dataset, which defines masks and classes.",
                hint="leave out one of the two.",
            )
    if config.data_dir is None:
        raise DsegError(
            f"The folder of the data set {name} is missing.", hint="name it with --data-dir."
        )
    if config.class_file is not None and name != "folder":
        raise DsegError(
            f"{name} has fixed classes, but the class file {config.class_file} is named.",
            hint="leave out --classes, or use --dataset folder.",
        )


def _check_engine(config: EvalConfig) -> None:
    """Refuse options that the engine does not support."""
    for_cityscapes = {
        "--data-dir": config.data_dir is not None and config.dataset is None,
        "--official": config.official,
        "--no-instances": not config.instances,
        "--pred-ids": config.pred_ids is not None and config.dataset is None,
    }
    wrong = [name for name, used in for_cityscapes.items() if used]
    if not config.cityscapes and wrong:
        hint = "leave it out, or leave out --label-space and --num-classes."
        if config.dataset is not None:
            hint = "leave it out; it requires cityscapes or scenes without --label-space."
        elif wrong[0] == "--data-dir":
            hint = "name its data set with --dataset, or the masks with --gt-dir."
        raise DsegError(f"{wrong[0]} is for Cityscapes only.", hint=hint)
    if config.ignore and config.num_classes is None:
        raise DsegError("--ignore requires --num-classes.", hint="give both, or neither.")
    if config.official and config.pred_ids == "train":
        raise DsegError(
            "The official engine reads only label ids.",
            hint="convert first with dseg transfer-labels, or leave out --official.",
        )
