"""From an author's keys to our networks, with a report of what met what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dseg.checkpoints.find import find_weights
from dseg.checkpoints.read import Checkpoint, read_checkpoint
from dseg.errors import CheckpointError
from dseg.models import SegModel, build_model, find_class
from dseg.models.base import KeyMap
from dseg.registry import MODELS, find_model

COUNTER = "num_batches_tracked"  # torch < 0.4.1 did not save it, and evaluation does not read it
STATISTICS = ("running_mean", "running_var", COUNTER)
SPREAD = 3  # by what heads and other numbers of classes may make a file larger or smaller
INPLACE_EPS = 1e-5  # of in-place activated batch norm


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """How a checkpoint's keys met a network's.

    Attributes:
        matched: keys that were loaded.
        missing: keys of the network that the file lacks.
        unexpected: keys of the file that the network lacks.
        misshapen: keys of another shape, as ``(key, shape in the file, shape in the network)``.
        reset: keys of the head that were left fresh on request.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    reset: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} keys matched"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing (first {self.missing[0]})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unknown (first {self.unexpected[0]})")
        if self.misshapen:
            key, theirs, ours = self.misshapen[0]
            parts.append(
                f"{len(self.misshapen)} of another shape (first {key}: {list(theirs)} in the file, "
                f"{list(ours)} in the network)"
            )
        if self.reset:
            parts.append(f"{len(self.reset)} of the head left fresh")
        return ", ".join(parts)


def map_keys(cls: type[SegModel], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an author's keys to ours by the class's ``KEY_MAP``; our own keys stay."""
    return rename_keys(cls.KEY_MAP, state)


def rename_keys(key_map: KeyMap, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename keys by ``(pattern, replacement)`` pairs, each in order; None drops a key."""
    renamed = {}
    for key, value in state.items():
        ours: str | None = key
        for pattern, replacement in key_map:
            if replacement is None:
                ours = None if ours is None or re.search(pattern, ours) else ours
            elif ours is not None:
                ours = re.sub(pattern, replacement, ours)
        if ours is not None:
            renamed[ours] = value
    return renamed


def compare(
    model: SegModel, state: Mapping[str, Tensor], *, reset_head: bool = False
) -> LoadReport:
    """Compare a state dict in our keys with a network's."""
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    matched, misshapen, reset = [], [], []
    for key in expected.keys() & state.keys():
        if expected[key] == tuple(state[key].shape):
            matched.append(key)
        elif reset_head and key.startswith(model.classifiers):
            reset.append(key)
        else:
            misshapen.append((key, tuple(state[key].shape), expected[key]))
    missing = [k for k in expected if k not in state and not k.endswith(COUNTER)]
    unexpected = [k for k in state if k not in expected and not k.endswith(COUNTER)]
    if reset:  # with other classes a head may have other parts, too
        heads = tuple(model.classifiers)
        reset += [k for k in missing if k.startswith(heads)]
        missing = [k for k in missing if not k.startswith(heads)]
        unexpected = [k for k in unexpected if not k.startswith(heads)]
    return LoadReport(
        matched=tuple(sorted(matched)),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        misshapen=tuple(sorted(misshapen)),
        reset=tuple(sorted(reset)),
    )


def load_weights(
    model: SegModel, checkpoint: Checkpoint, *, partial: bool = False, reset_head: bool = False
) -> LoadReport:
    """Load a checkpoint into a network made by ``build_model``.

    Args:
        partial: accept missing, unknown and misshapen keys, as long as one key fits.
        reset_head: leave the classifiers fresh where their shape differs (another class count).

    Returns:
        How the keys met.

    Raises:
        CheckpointError: the keys do not fit; the hint names the network that they are those of.
    """
    state = map_keys(type(model), checkpoint.state)
    report = compare(model, state, reset_head=reset_head)
    fits = any(not key.endswith(COUNTER) for key in report.matched)
    if not fits or not (report.complete or partial):
        raise _misfit(model, checkpoint, report)
    model.load_state_dict({key: state[key] for key in report.matched}, strict=False)
    return report


def _misfit(model: SegModel, checkpoint: Checkpoint, report: LoadReport) -> CheckpointError:
    name = model.card.network
    heads = [key for key, _, _ in report.misshapen if key.startswith(model.classifiers)]
    classes = count_classes(type(model), map_keys(type(model), checkpoint.state))
    if heads and classes and len(heads) == len(report.misshapen) and not report.missing:
        hint = f"the file's head has {classes} classes: load it with that many, or reset the head."
    elif names := [n for n in find_networks(checkpoint) if n != name]:
        hint = f"the keys are those of {' or '.join(names[:3])}; try --model {names[0]}."
    else:
        hint = "no network of the table has these keys; see them with dseg inspect --keys FILE."
    return CheckpointError(f"{checkpoint.path} does not fit {name}: {report}.", hint=hint)


def find_networks(checkpoint: Checkpoint) -> list[str]:
    """Return the networks whose keys and shapes are those of the file, whatever its class count.

    Those that were published with the file's class count come first.
    """
    fitting = {}
    size = sum(v.numel() for k, v in checkpoint.state.items() if not k.endswith(STATISTICS))
    for name, spec in MODELS.items():
        if not spec.params / SPREAD < size < spec.params * SPREAD:
            continue
        cls = find_class(name)
        state = map_keys(cls, checkpoint.state)
        classes = count_classes(cls, state)
        if classes is None:  # no classifier where this network has its own
            continue
        with torch.device("meta"):  # shapes alone, no memory
            model = build_model(name, classes, **cls.options_for(state))
        if compare(model, state).complete:
            fitting[name] = classes == spec.num_classes
    return sorted(fitting, key=lambda name: not fitting[name])


def count_classes(cls: type[SegModel], state: Mapping[str, Tensor]) -> int | None:
    """Return the outputs of the main classifier in a state dict of our keys.

    None if it is not there, or is another network's: not 1 to 255 classes.
    """
    weight = state.get(f"{cls.classifiers[0]}weight")
    rows = weight.shape[0] if weight is not None and weight.ndim else 0
    classes = rows // cls.outputs_per_class
    return classes if 1 <= classes <= 255 else None


def load_model(
    name: str | None = None,
    weights: Path | str | None = None,
    num_classes: int | None = None,
    *,
    partial: bool = False,
    reset_head: bool = False,
    inplace_norms: bool = False,
    on_report: Callable[[LoadReport], None] = lambda report: None,
) -> SegModel:
    """Build a network and load a checkpoint into it, the authors' or our own.

    Args:
        name: a network of ``dseg models``; may be left out for our own files, which say it.
        weights: the file; by default the network's own in ``weights/`` or the cache.
        num_classes: outputs; by default those of the file.
        partial: accept a checkpoint that fits in part.
        reset_head: leave the head fresh where the file has another number of classes.
        inplace_norms: the file was trained with in-place activated batch norm; see
            ``read_inplace_norms``.
        on_report: called with how the file's keys met the network's.

    Returns:
        The network in evaluation mode, on the CPU, float32.

    Raises:
        CheckpointError: no file, no checkpoint, or not this network's.
        DsegError: no such network.
    """
    key = find_model(name) if name is not None else None
    if key is None and weights is None:
        raise CheckpointError("Neither a network nor a file is named.", hint="name one of them.")
    path = Path(weights) if weights is not None else None
    checkpoint = read_checkpoint(find_weights(key, path) if key else Path(str(weights)))
    key = key or _network_of(checkpoint)
    cls = find_class(key)
    state = map_keys(cls, checkpoint.state)
    options = cls.options_for(state)
    card = checkpoint.card if checkpoint.card and checkpoint.card.network == key else None
    if card is not None:
        options = {**card.kwargs, **options}
    outputs = count_classes(cls, state) if num_classes is None else num_classes
    model = build_model(key, outputs, **options)
    on_report(load_weights(model, checkpoint, partial=partial, reset_head=reset_head))
    if card is not None and card.label_space.num_classes == outputs:
        model.card = card
    if inplace_norms:
        read_inplace_norms(model, checkpoint)
    return model.eval()


@torch.no_grad()
def read_inplace_norms(model: SegModel, checkpoint: Checkpoint) -> None:
    """Read the weights of norms as in-place activated batch norm does: ``|weight| + 1e-5``.

    Its kernels scale so (Rota Bulo et al., CVPR 2018, section 3.1, which inverts the norm), those
    of batch norm by the weight itself. CCNet's and OCNet's authors trained with it.

    Raises:
        CheckpointError: the file is our own, whose weights are batch norm's.
    """
    if checkpoint.card is not None:
        raise CheckpointError(
            f"{checkpoint.path} is dseg's own, trained with batch norm itself.",
            hint="leave --inplace-abn out.",
        )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.abs_().add_(INPLACE_EPS)


def _network_of(checkpoint: Checkpoint) -> str:
    if checkpoint.card is not None:
        return checkpoint.card.network
    names = find_networks(checkpoint)
    if len(names) == 1:
        return names[0]
    fitting = f"{', '.join(names)} fit" if names else "no network of the table fits"
    raise CheckpointError(
        f"{checkpoint.path} does not say which network it is for: {fitting}.",
        hint="name it by --model.",
    )
