"""Load a checkpoint of any author into a network, and report what was assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dseg.checkpoints.identify import (
    choose_network,
    explain_misfit,
    find_release,
    is_same_architecture,
)
from dseg.checkpoints.keys import COUNTER, LoadReport, compare, count_classes, map_keys
from dseg.checkpoints.locations import find_file, find_weights
from dseg.checkpoints.read import Checkpoint, read_checkpoint
from dseg.checkpoints.tensor_checks import check_tensors
from dseg.downloads import current_display
from dseg.errors import CheckpointError, DsegError
from dseg.models import SegModel, build_model, find_class, make_card
from dseg.registry import MODELS, find_model

INPLACE_EPS = 1e-5  # of in-place activated batch norm
MOST_TIMES, SMALL = 4, 10_000_000  # a network has at most 4 times its file's elements, plus 10M
BUILD_FAULTS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


def load_weights(
    model: SegModel, checkpoint: Checkpoint, *, partial: bool = False, reset_head: bool = False
) -> LoadReport:
    """Load a checkpoint into a network made by ``build_model``.

    Args:
        model: network to load into.
        checkpoint: result of ``read_checkpoint``.
        partial: accept missing keys, unknown keys and other shapes, as long as one key fits.
        reset_head: keep the classifiers' initial weights if their shapes differ (another number
            of classes).

    Returns:
        The matched, missing and unexpected keys.

    Raises:
        CheckpointError: the keys do not fit (the hint names a network that they fit), or weights
            are not finite floats.
    """
    state = map_keys(type(model), checkpoint.state)
    report = compare(model, state, reset_head=reset_head)
    fits = any(not key.endswith(COUNTER) for key in report.matched)
    if not fits or not (report.complete or partial):
        raise _misfit(model, checkpoint, report)
    wanted = model.state_dict()
    names = map_keys(type(model), {key: key for key in checkpoint.state})  # ours to the file's
    check_tensors(
        checkpoint.path,
        {names[key]: state[key] for key in report.matched},
        {names[key]: wanted[key] for key in report.matched},
    )
    model.load_state_dict({key: state[key] for key in report.matched}, strict=False)
    return report


def _misfit(model: SegModel, checkpoint: Checkpoint, report: LoadReport) -> CheckpointError:
    name = model.card.network
    heads = [key for key, _, _ in report.misshapen if key.startswith(model.classifiers)]
    classes = count_classes(type(model), map_keys(type(model), checkpoint.state))
    if heads and classes and len(heads) == len(report.misshapen) and not report.missing:
        hint = f"the file's head has {classes} classes: load it with that many, or reset the head."
    else:
        hint = explain_misfit(checkpoint, name)
    return CheckpointError(f"{checkpoint.path} does not fit {name}: {report}.", hint=hint)


def load_model(
    name: str | None = None,
    weights: Path | str | None = None,
    num_classes: int | None = None,
    *,
    partial: bool = False,
    reset_head: bool = False,
    inplace_abn: bool | None = None,
    raw_weights: bool = False,
    on_report: Callable[[LoadReport], None] = lambda report: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> SegModel:
    """Build a network and load a checkpoint into it, the authors' or our own.

    The file determines what the name leaves open: the number of outputs, widths, and the release
    of the network with its normalisation, label space and protocol.

    Args:
        name: network listed by ``dseg models``; by default identified from the file.
        weights: checkpoint file, or ``hf://owner/name/file`` of Hugging Face; by default the
            network's file in ``weights/`` or the cache, downloaded first if need be.
        num_classes: number of outputs; by default that of the file.
        partial: accept a checkpoint of which only some keys fit.
        reset_head: keep the head's initial weights if the file has another number of classes.
        inplace_abn: whether the file was trained with in-place activated batch norm; by default
            True for files with the keys of authors who used it.
        raw_weights: use the raw weights of a file that also has EMA weights.
        on_report: called with the matched, missing and unexpected keys.
        on_note: called with each sentence about what was assumed.

    Returns:
        The network in evaluation mode, on the CPU, float32.

    Raises:
        CheckpointError: the file is missing, not a checkpoint, or of another network.
        DsegError: unknown network.

    Example:
        >>> model = dseg.load_model("bisenetv2", "weights/bisenetv2.pth")
        >>> model.card.label_space.names[:2]
        ('road', 'sidewalk')
    """
    key = find_model(name) if name is not None else None
    if key is None and weights is None:
        raise CheckpointError(
            "Neither a network nor a file was given.", hint="give a name, a file, or both."
        )
    path = Path(weights) if weights is not None else None
    display = replace(current_display(), note=on_note)
    file = find_weights(key, path, display) if key else find_file(Path(str(weights)), display)
    checkpoint = read_checkpoint(file, raw=raw_weights)
    notes = list(checkpoint.notes)
    if key is None and checkpoint.card is not None:
        key = checkpoint.card.network
    elif key is None:
        key, more = choose_network(checkpoint)
        notes += more
    model, more = _build_for(key, checkpoint, num_classes)
    report = load_weights(model, checkpoint, partial=partial, reset_head=reset_head)
    inplace, remarks = _settle_inplace_abn(model, checkpoint, inplace_abn)
    on_report(replace(report, inplace_abn=inplace))
    for note in (*notes, *more, *remarks):
        on_note(note)
    return model.eval()


def _build_for(
    name: str, checkpoint: Checkpoint, num_classes: int | None
) -> tuple[SegModel, list[str]]:
    """Build the network of a checkpoint with its model card; also return what was assumed."""
    cls = find_class(name)
    state = map_keys(cls, checkpoint.state)
    options = cls.options_for(state)
    card = checkpoint.card if checkpoint.card and checkpoint.card.network == name else None
    if card is not None:
        options = {**card.kwargs, **options}
    outputs = count_classes(cls, state) if num_classes is None else num_classes
    if card is not None or outputs is None:
        if card is not None:
            _check_proportion(checkpoint, name, outputs, options)
        model = build_model(name, outputs, **options)
        if card is not None and card.kwargs != MODELS[name].kwargs:
            _check_forward(model, checkpoint)
        if card is not None and card.num_outputs == outputs:
            model.card = card
        elif card is not None and outputs is not None and num_classes is None:
            raise _damaged(
                checkpoint, f"it has {card.num_outputs} outputs, the classifier has {outputs}"
            )
        return model, []
    release = name if num_classes is not None else find_release(name, outputs, options)
    built = release if is_same_architecture(name, release, options) else name
    if any(type(value) is int for value in options.values()):
        _check_proportion(checkpoint, built, outputs, options, MODELS[built].params)
    model = build_model(built, outputs, **options)
    if release != built:
        facts = make_card(release, outputs, model.card.kwargs)
        model.card = replace(facts, network=built)
    statistics = cls.statistics_in(checkpoint.state)
    if statistics is not None:
        model.card = replace(model.card, mean=statistics[0], std=statistics[1])
    notes = list(_assumed(name, release, outputs, statistics is not None))
    return model, notes if num_classes is None else []


def _check_proportion(
    checkpoint: Checkpoint, name: str, outputs: int | None, options: dict[str, Any], least: int = 0
) -> None:
    """Refuse arguments that build no network, or one far larger than the file.

    Args:
        least: least number of elements to assume for the file, which can hold a partial network.
    """
    problem = ""
    try:
        with torch.device("meta"):  # shapes only, no memory
            shapes = build_model(name, outputs, **options)
        wanted = sum(value.numel() for value in shapes.state_dict().values())
        held = sum(value.numel() for value in checkpoint.state.values())
        if wanted > MOST_TIMES * max(held, least) + SMALL:
            problem = f"it would have {wanted:,} elements, the file has {held:,}"
    except (DsegError, *BUILD_FAULTS) as fault:
        problem = str(fault).partition("\n")[0]
    if problem:
        raise _damaged(checkpoint, f"{name} with {options}: {problem.rstrip('.')}")


@torch.inference_mode()
def _check_forward(model: SegModel, checkpoint: Checkpoint) -> None:
    """Refuse a model card whose arguments fit all shapes but build a network that cannot run."""
    try:
        model.eval()(torch.zeros(1, 3, 64, 128))
    except BUILD_FAULTS as fault:
        problem = str(fault).partition("\n")[0].rstrip(".")
        raise _damaged(checkpoint, f"{model.card.network} cannot run: {problem}") from fault


def _damaged(checkpoint: Checkpoint, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.path} has damaged {'metadata' if checkpoint.card else 'shapes'}: {problem}.",
        hint="download or copy the file again and compare its size or SHA-256.",
    )


def _assumed(name: str, release: str, outputs: int, statistics: bool) -> Iterator[str]:
    """Yield sentences on what was assumed about outputs and normalisation."""
    spec = MODELS[release]
    if release != name:
        yield f"The {outputs} outputs match {release}, whose labels and normalisation are used."
    if outputs != spec.num_classes:
        yield (
            f"WARNING: {name} was published with {spec.num_classes} outputs and the file has "
            f"{outputs}: images are normalised as usual for {name}, which can differ from how this "
            "file was trained."
        )
    if statistics:
        yield "Images are normalised by the mean and standard deviation in the file."


def _settle_inplace_abn(
    model: SegModel, checkpoint: Checkpoint, inplace_abn: bool | None
) -> tuple[bool, list[str]]:
    """Convert norms of in-place activated batch norm, on request or for files known to have them.

    Returns:
        True if they were converted, and notes for the user.
    """
    spec = MODELS[model.card.network]
    if inplace_abn is None and spec.inplace_abn and _has_authors_keys(model, checkpoint):
        convert_inplace_abn(model, checkpoint)
        return True, [
            "Norms are read as in-place activated batch norm (|weight| + 1e-5), which its authors "
            "trained with; --no-inplace-abn reads them unchanged."
        ]
    if inplace_abn:
        convert_inplace_abn(model, checkpoint)
        unusual = f"WARNING: no published file of {model.card.network} was trained with "
        unusual += "in-place activated batch norm, but its norms are read that way (--inplace-abn)."
        return True, [] if spec.inplace_abn else [unusual]
    if spec.inplace_abn and checkpoint.card is None and _has_negative_norms(model):
        return False, [
            "WARNING: norms have negative weights. If the file was trained with in-place activated "
            "batch norm, as its authors' files were, use --inplace-abn."
        ]
    return False, []


def _has_authors_keys(model: SegModel, checkpoint: Checkpoint) -> bool:
    """Return True if the file is not our own and some of its keys are not ours."""
    mapped = map_keys(type(model), checkpoint.state)
    return checkpoint.card is None and any(key not in mapped for key in checkpoint.state)


def _norms_of(model: SegModel) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))


def _has_negative_norms(model: SegModel) -> bool:
    return any(bool((module.weight < 0).any()) for module in _norms_of(model))


@torch.no_grad()
def convert_inplace_abn(model: SegModel, checkpoint: Checkpoint) -> None:
    """Replace the weights of norms by ``|weight| + 1e-5``, as in-place activated batch norm does.

    Its kernels scale by that value (Rota Bulo et al., CVPR 2018, section 3.1, which inverts the
    norm), plain batch norm by the weight itself. CCNet's and OCNet's authors trained with it.

    Raises:
        CheckpointError: the file is our own, which was trained with plain batch norm.
    """
    if checkpoint.card is not None:
        raise CheckpointError(
            f"{checkpoint.path} was written by dseg, which trains with plain batch norm.",
            hint="leave --inplace-abn out.",
        )
    for module in _norms_of(model):
        module.weight.abs_().add_(INPLACE_EPS)
