"""Folding for inference: what is folded, what must not be, and equal outputs."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature

import pytest
import torch
from stand_ins import MEAN, STD, draw
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

import dseg
from dseg.checkpoints import find_bundled, load_model
from dseg.folding import prepare
from dseg.labels import unnamed_label_space
from dseg.models import ModelCard, SegModel, build_model, find_class
from dseg.nn.sync_norm import AllReduceBatchNorm2d, synchronise_norms
from dseg.predict import Predictor

SMALLEST = {  # of each class, the network with the fewest parameters
    spec.target: name
    for name, spec in sorted(dseg.MODELS.items(), key=lambda item: -item[1].params)
}
QUICK = set(sorted(SMALLEST.values())[::2])
NETWORKS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in dseg.MODELS
]
LEFT = {  # number of norms that cannot be folded
    "bisenetv1": 0,
    "bisenetv2": 1,  # after a global mean
    "dabnet": 22,
    "denseaspp121": 66,  # pre-activation
    "denseaspp_densenet121_citys": 62,
    "fastscnn": 0,
    "gcnet_s": 12,  # pre-activation in the pyramid and the head
    "icnet": 0,
    "mobilenetdenseaspp": 4,
    "swiftnet_r18": 11,
}
ALL = {"dabnet": 71, "denseaspp121": 131, "mobilenetdenseaspp": 61}


def norms_of(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Give norms statistics and weights that a fold cannot ignore."""
    generator = torch.Generator().manual_seed(0)
    for norm in norms_of(model):
        for value in (norm.running_mean, norm.bias):
            if value is not None:
                value.copy_(torch.randn(value.shape, generator=generator) / 5)
        for value in (norm.running_var, norm.weight):
            if value is not None:
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)


def build(name: str) -> SegModel:
    """Build a network with auxiliary heads, if it has any, and random norms, in evaluation."""
    torch.manual_seed(0)
    heads = {"aux": True} if "aux" in signature(find_class(name)).parameters else {}
    model = build_model(name, **heads).eval()
    randomise(model)
    return model


@torch.inference_mode()
def difference(model: SegModel, deployed: SegModel, height: int, width: int) -> float:
    """Return the largest difference of the logits, in standard deviations."""
    dtype = next(model.parameters()).dtype
    image = torch.randn(
        1, 3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(1)
    )
    image = model.pad(image)
    (expected,), (found,) = model.logits(image), deployed.logits(image)
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.std()).item()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_prepared_network_computes_the_same(name: str) -> None:
    model = build(name).double()  # so that only a wrong fold makes a difference
    deployed = prepare(model, device="cpu")
    assert difference(model, deployed, 64, 96) < 1e-8
    assert len(norms_of(deployed)) < len(norms_of(model))
    assert not any(key.startswith("aux.") for key in deployed.state_dict())
    assert not any(weight.requires_grad for weight in deployed.parameters())


@pytest.mark.parametrize("name", ["dabnet", "denseaspp121", "bisenetv2"])
def test_single_precision_is_exact_enough(name: str) -> None:
    model = build(name)
    assert difference(model, prepare(model, device="cpu"), 97, 193) < 1e-4


@pytest.mark.parametrize("name", LEFT)
def test_norms_that_remain(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    assert len(norms_of(model)) == ALL.get(name, len(norms_of(model)))
    deployed = prepare(model, device="meta")
    assert len(norms_of(deployed)) == LEFT[name]
    assert len(norms_of(model)) == ALL.get(name, len(norms_of(model)))


def test_trained_weights_label_alike() -> None:
    model = load_model(None, find_bundled())
    image = draw(128, 256)
    predictor = Predictor(model, device="cpu")
    assert len(norms_of(predictor.model)) < len(norms_of(model))
    assert (predictor.model.card, predictor.model.min_size) == (model.card, model.min_size)
    scores = predictor.scores(image)
    predictor.model = model
    expected = predictor.scores(image)
    assert (scores - expected).abs().max() < 1e-4 * expected.std()


def test_the_network_itself_is_untouched() -> None:
    model = build_model("mobilenetdenseaspp")
    randomise(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    deployed = prepare(model, device="cpu")
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training and not deployed.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    for weight in deployed.parameters():
        weight.data.zero_()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_weights_are_laid_out_for_images_of_either_format() -> None:
    model = build_model("dabnet")
    for channels_last in (True, False):
        weight = prepare(model, device="cpu", channels_last=channels_last).stem[0].conv.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last


@pytest.mark.parametrize("kind", [AllReduceBatchNorm2d, nn.SyncBatchNorm], ids=lambda k: k.__name__)
def test_norms_over_several_processes_are_folded_too(kind: type[nn.Module]) -> None:
    model = build("mobilenetdenseaspp")
    expected = prepare(model, device="cpu").state_dict()
    synchronise_norms(model, "cuda" if kind is nn.SyncBatchNorm else "cpu")
    assert any(type(module) is kind for module in model.modules())
    found = prepare(model, device="cpu").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


class Small(SegModel):
    """Layers that a test combines by ``order``, a function of the network and an image."""

    def __init__(self, order: Callable[[Small, Tensor], Tensor]) -> None:
        super().__init__()
        self.order = order
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.other = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        space = unnamed_label_space(4)
        self.card = ModelCard(network="small", kwargs={}, label_space=space, mean=MEAN, std=STD)

    def logits(self, image: Tensor) -> list[Tensor]:
        return [self.order(self, image)]


def small(order: Callable[[Small, Tensor], Tensor], **parts: nn.Module) -> Small:
    torch.manual_seed(0)
    model = Small(order)
    for name, part in parts.items():
        setattr(model, name, part)
    randomise(model)
    return model.double().eval()


def folded(model: Small) -> int:
    """Compare outputs at two sizes, and return how many norms are folded."""
    deployed = prepare(model, device="cpu")
    assert difference(model, deployed, 32, 48) < 1e-10
    assert difference(model, deployed, 33, 49) < 1e-10
    return len(norms_of(model)) - len(norms_of(deployed))


def added_to_itself(m: Small, x: Tensor) -> Tensor:
    y = m.conv(x)
    return m.norm(y) + y


def changed_in_place(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x).relu_())


def changed_in_part(m: Small, x: Tensor) -> Tensor:
    y = m.conv(x)
    y[:, 0] = 1
    return m.norm(y)


def seen_through_a_view(m: Small, x: Tensor) -> Tensor:
    y = m.conv(x)
    y.permute(0, 2, 3, 1).mul_(2)
    return m.norm(y)


def norm_of_two(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) + m.norm(m.other(x))


def norm_of_the_image_too(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) + m.norm(x.repeat(1, 2, 1, 1)[:, :4])


def two_norms_of_one(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) + m.norm2(m.conv(x.relu()))


def normed_once_of_twice(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) + m.conv(x.relu())


def padded_where_odd(m: Small, x: Tensor) -> Tensor:
    y = m.conv(x)
    odd = y.shape[-2] % 2
    return m.norm(F.pad(y, (odd, odd)))[..., : x.shape[-2], : x.shape[-1]]


def padded_where_large(m: Small, x: Tensor) -> Tensor:
    y = m.conv(x)
    return m.norm(F.pad(y, (1, 1)) if x.shape[-1] > 20 else y)


def weight_read_beside_its_layer(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) + F.conv2d(x, m.conv.weight, padding=1)


def norm_read_beside_its_module(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) * m.norm.running_var.view(1, -1, 1, 1)


def layer_called_without_its_hooks(m: Small, x: Tensor) -> Tensor:
    return m.norm(m.conv(x)) + m.conv.forward(x.relu())


def named_arguments(m: Small, x: Tensor) -> Tensor:
    y = m.other(input=x)
    return m.norm(input=y) + m.norm2(m.conv(input=x)) + y


UNSAFE = [
    added_to_itself,
    changed_in_place,
    changed_in_part,
    seen_through_a_view,
    norm_of_two,
    norm_of_the_image_too,
    two_norms_of_one,
    normed_once_of_twice,
    padded_where_odd,
    padded_where_large,
    weight_read_beside_its_layer,
    norm_read_beside_its_module,
    layer_called_without_its_hooks,
]


@pytest.mark.parametrize("order", UNSAFE, ids=lambda order: order.__name__)
def test_what_must_not_be_folded_is_not(order: Callable[[Small, Tensor], Tensor]) -> None:
    assert folded(small(order)) == 0


def test_named_arguments_are_seen() -> None:
    assert folded(small(named_arguments)) == 1


def test_a_result_that_is_returned_too_is_not_folded() -> None:
    model = small(lambda m, x: m.norm(m.conv(x)))
    model.logits = lambda image: [model.conv(image), model.norm(model.conv(image))]  # type: ignore
    assert len(norms_of(prepare(model, device="cpu"))) == 2


def test_a_pair_that_is_used_twice_is_folded_once() -> None:
    assert folded(small(lambda m, x: m.norm(m.conv(x)) + m.norm(m.conv(x.relu())))) == 1


def test_a_module_of_two_names_is_folded_under_both() -> None:
    model = small(lambda m, x: m.norm(m.conv(x)) + m.again[1](m.again[0](x.relu())))
    model.again = [model.conv, model.norm]  # a list, whose modules torch does not register
    assert folded(model) == 1


def test_layers_that_share_a_weight_are_folded_apart() -> None:
    model = small(lambda m, x: m.norm(m.conv(x)) + m.other(x))
    model.other.weight = model.conv.weight
    assert folded(model) == 1


@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_that_is_computed_is_left_alone(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = small(lambda m, x: m.norm(m.other(x)), other=nn.Conv2d(3, 4, 3, padding=1))
    wrap(model.other)
    try:
        assert folded(model) == 0
    except RuntimeError as fault:  # the older weight norm cannot be copied
        assert "deepcopy" in str(fault)


def test_a_norm_by_the_batchs_statistics_is_left_alone() -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    assert folded(small(lambda m, x: m.norm(m.conv(x)), norm=norm)) == 0


def test_a_norm_without_weights_is_folded() -> None:
    assert folded(small(lambda m, x: m.norm(m.conv(x)), norm=nn.BatchNorm2d(4, affine=False))) == 1


@pytest.mark.parametrize(("groups", "expected"), [(1, 1), (2, 0)])
def test_transposed_convolutions(groups: int, expected: int) -> None:
    up = nn.ConvTranspose2d(4, 4, 2, stride=2, groups=groups)
    assert folded(small(lambda m, x: m.norm(m.up(m.conv(x))), up=up)) == expected


def test_linear_layers_of_vectors_are_folded_and_of_sequences_not() -> None:
    parts = {"linear": nn.Linear(4, 4), "norm1d": nn.BatchNorm1d(4)}

    def of_vectors(m: Small, x: Tensor) -> Tensor:
        return m.conv(x) * m.norm1d(m.linear(m.other(x).mean((2, 3))))[:, :, None, None]

    def of_sequences(m: Small, x: Tensor) -> Tensor:
        rows = F.adaptive_avg_pool2d(m.other(x), (4, 1)).squeeze(-1)  # four of four
        return m.conv(x) * m.norm1d(m.linear(rows)).mean(1)[:, :, None, None]

    assert folded(small(of_vectors, **parts)) == 1
    assert folded(small(of_sequences, **parts)) == 0


def test_convolutions_over_one_axis_are_folded() -> None:
    parts = {"conv1d": nn.Conv1d(4, 4, 3, padding=1), "norm1d": nn.BatchNorm1d(4)}
    model = small(
        lambda m, x: m.norm1d(m.conv1d(m.other(x).flatten(2))).unflatten(2, x.shape[-2:]), **parts
    )
    assert folded(model) == 1


def test_what_cannot_be_computed_from_shapes_is_left_as_it_is() -> None:
    model = small(lambda m, x: m.norm(m.conv(x)) * (1 if m.conv(x).mean() > 0 else 2))
    assert folded(model) == 0
