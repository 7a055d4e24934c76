"""The options of ``dseg eval``, and which of them contradict each other."""

from __future__ import annotations

from dseg.cli.options.build import options_of
from dseg.cli.options.types import Command
from dseg.config import EvalConfig, NetworkConfig
from dseg.errors import DsegError

FIRST = ("model", "weights")  # of the network's options, shown beside --pred-dir


def eval_options(command: Command) -> Command:
    """Add the options of ``dseg eval``."""
    own, network = options_of(EvalConfig), options_of(NetworkConfig)
    first = [own.pop("pred_dir"), *(network.pop(name) for name in FIRST)]
    quiet = own.pop("quiet")
    for option in reversed([*first, *own.values(), *network.values(), quiet]):
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
            "--per-image has nowhere to go.", hint="name a file with --json or --csv, or both."
        )
    if str(config.csv_file) == str(config.json_file) == "-":
        raise DsegError("JSON and CSV both want stdout.", hint="give one of them a file.")
    if config.network.named:
        config.network.check()


def _check_predictions(config: EvalConfig) -> None:
    """Refuse no predictions, or two kinds of them, and what goes with the other kind."""
    if config.pred_dir is not None:
        for option in config.network.changed():
            raise DsegError(
                f"{option} does not go with --pred-dir: its masks are there already.",
                hint="score them, or leave --pred-dir away and let a network predict.",
            )
        return
    if not config.network.named:
        raise DsegError(
            "There is nothing to score: neither predictions nor a network are named.",
            hint="name masks with --pred-dir DIR, or what predicts them with --model or --weights.",
        )
    if config.dataset is None:
        raise DsegError(
            "A network is to be scored, but no data set is named.",
            hint="name one with --dataset and --data-dir; the images of --gt-dir are not known.",
        )
    for option, used in {
        "--pred-ids": config.pred_ids is not None,
        "--official": config.official,
        "--allow-missing": config.allow_missing,
    }.items():
        if used:
            raise DsegError(
                f"{option} is for masks, but a network is to be scored.",
                hint=f"leave {option} away, or write masks with dseg infer and name --pred-dir.",
            )


def _check_truth(config: EvalConfig) -> None:
    """Refuse no ground truth, or two, or a data set that is named in part."""
    if config.dataset is not None:
        _check_dataset(config, config.dataset)
    elif config.class_file is not None:
        raise DsegError("--classes goes with --dataset folder.", hint="give both, or neither.")
    if (config.gt_dir is None) == (config.data_dir is None):
        what = "no ground truth is named" if config.gt_dir is None else "it is named twice"
        raise DsegError(
            f"There is nothing to compare with: {what}.",
            hint="give one of --gt-dir gtFine/val and --data-dir cityscapes.",
        )


def _check_dataset(config: EvalConfig, name: str) -> None:
    """Refuse what does not go with ``--dataset``."""
    named = {
        "--gt-dir": config.gt_dir is not None,
        "--num-classes": config.num_classes is not None,
        "--ignore": bool(config.ignore),
    }
    for option, used in named.items():
        if used:
            raise DsegError(
                f"{option} does not go with --dataset, which knows its masks and their classes.",
                hint="leave one of the two away.",
            )
    if config.data_dir is None:
        raise DsegError(
            f"Where the data set {name} is, is not said.", hint="name its folder with --data-dir."
        )
    if config.class_file is not None and name != "folder":
        raise DsegError(
            f"The classes of {name} are known, yet the class file {config.class_file} is named.",
            hint="leave --classes away, or use --dataset folder.",
        )


def _check_engine(config: EvalConfig) -> None:
    """Refuse what the engine cannot do."""
    for_cityscapes = {
        "--data-dir": config.data_dir is not None and config.dataset is None,
        "--official": config.official,
        "--no-instances": not config.instances,
        "--pred-ids": config.pred_ids is not None and config.dataset is None,
    }
    wrong = [name for name, used in for_cityscapes.items() if used]
    if not config.cityscapes and wrong:
        hint = "leave it away, or leave --label-space and --num-classes away."
        if config.dataset is not None:
            hint = "leave it away; it goes with cityscapes and scenes without --label-space."
        elif wrong[0] == "--data-dir":
            hint = "say by --dataset which data set it holds, or name the masks with --gt-dir."
        raise DsegError(f"{wrong[0]} is for Cityscapes only.", hint=hint)
    if config.ignore and config.num_classes is None:
        raise DsegError("--ignore goes with --num-classes.", hint="give both, or neither.")
    if config.official and config.pred_ids == "train":
        raise DsegError(
            "The official engine reads label ids only.",
            hint="convert first with dseg transfer-labels, or leave --official away.",
        )
