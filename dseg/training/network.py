"""Build the network of a run with its initial weights."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from pathlib import Path

import torch

from dseg.checkpoints import find_backbone_weights, find_bundled, load_backbone, load_model
from dseg.config import RuntimeConfig, TrainConfig
from dseg.datasets.base import Dataset
from dseg.device import find_amp
from dseg.distributed import Group
from dseg.errors import Detail, DsegError
from dseg.models import SegModel, build_model, find_class
from dseg.nn.backbones.densenet import checkpoint_activations
from dseg.nn.sync_norm import synchronise_norms
from dseg.recipes.file import BUNDLED, names_weights
from dseg.training.backends import avoid_wrong_gradients, compile_model


def make_model(
    config: TrainConfig,
    dataset: Dataset,
    group: Group,
    device: torch.device,
    runtime: RuntimeConfig,
) -> tuple[SegModel, str]:
    """Build the network with its initial weights on its device; also return remarks on them."""
    torch.manual_seed(config.seed)
    outputs = dataset.space.num_classes
    remarks: list[str] = []
    if names_weights(config.weights):
        start = Path(config.weights)
        if config.weights == BUNDLED and not start.exists():
            start = find_bundled()
        model = load_model(
            config.model,
            start,
            num_classes=outputs,
            reset_head=config.reset_head,
            inplace_abn=config.inplace_abn,
            raw_weights=config.raw_weights,
            on_note=lambda line: None if isinstance(line, Detail) else remarks.append(line),
        )
        if model.card.kwargs.get("folded"):
            remarks.append(
                f"WARNING: the blocks in {start.name} are folded for inference: without their "
                "parallel paths and norms they do not train as published. Use a file that has them."
            )
    else:
        takes_aux = "aux" in signature(find_class(config.model)).parameters
        options = {"aux": True} if takes_aux and config.recipe.aux_weight else {}
        model = build_model(config.model, outputs, **options)
    if (
        names_weights(config.weights)
        and config.recipe.aux_weight
        and _lacks_aux(model, config.model)
    ):
        remarks.append(
            f"WARNING: {Path(config.weights).name} has no auxiliary heads, so the recipe's "
            f"auxiliary loss (weight {config.recipe.aux_weight:g}) is left out."
        )
    if config.backbone_weights:
        source = config.backbone_weights
        file = group.from_main(lambda: find_backbone_weights(model, source))  # one download
        remarks.append(f"backbone: {load_backbone(model, file)}")
    card = model.card.at_own_size()
    model.card = replace(card, label_space=dataset.space, outputs=(), scores={})
    if runtime.checkpoint_activations and not checkpoint_activations(model):
        raise DsegError(
            f"{config.model} has no dense blocks whose activations could be recomputed.",
            hint="leave out --checkpoint-activations, or use a smaller batch or crop.",
        )
    model = model.to(device).to(memory_format=torch.channels_last)
    avoid_wrong_gradients(model, device, find_amp(config.amp, device))
    if group.world_size > 1:
        synchronised = synchronise_norms(model, device.type)
        assert isinstance(synchronised, SegModel)
        model = synchronised
    if runtime.compile:
        compile_model(model, device, config.recipe, group)
    return model, " ".join(remarks)


def _lacks_aux(model: SegModel, name: str) -> bool:
    """Return True if a network was built without its optional auxiliary heads."""
    if "aux" not in signature(find_class(name)).parameters:
        return False
    with torch.device("meta"):
        whole = build_model(name, aux=True)
    return len(whole.state_dict()) > len(model.state_dict())
