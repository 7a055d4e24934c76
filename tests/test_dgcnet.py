"""DGCNet's graphs, compared with its authors' modules and with formulas in loops."""

from __future__ import annotations

from itertools import product
from math import exp

import torch
from blocks import find_block_difference
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.dgcnet import DGCNet
from dseg.nn.graph import DUAL_GRAPH_KEYS, CoordinateGraph, DualGraph, FeatureGraph


def test_the_dual_graph_computes_what_its_authors_compute() -> None:
    assert find_block_difference("block_dualgcn_gald", DualGraph(32), DUAL_GRAPH_KEYS) < 1e-5


def test_the_coordinate_graph_computes_what_its_authors_compute() -> None:
    alone = ((r"^", "coordinate."), *DUAL_GRAPH_KEYS, (r"^coordinate\.", ""))
    assert find_block_difference("block_spatialgcn_gald", CoordinateGraph(32), alone) < 1e-5


def drawn(module: nn.Module) -> nn.Module:
    """Give every parameter and statistic of a module random values."""
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0, 0.5)
    return module.double().eval().requires_grad_(False)


def points(part: nn.Module, x: Tensor) -> Tensor:
    """Compute a 1x1 convolution of (C, P), with bias and norm if the module has them."""
    conv = part if isinstance(part, nn.Conv2d) else part.get_submodule("conv")
    assert isinstance(conv, (nn.Conv1d, nn.Conv2d))
    out = conv.weight.flatten(1) @ x
    if conv.bias is not None:
        out = out + conv.bias[:, None]
    if part is conv:
        return out
    norm = part.get_submodule("norm")
    assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
    assert norm.running_mean is not None and norm.running_var is not None
    scaled = (out - norm.running_mean[:, None]) / (norm.running_var[:, None] + 1e-5).sqrt()
    return scaled * norm.weight[:, None] + norm.bias[:, None]


def coordinate_graph(module: CoordinateGraph, x: Tensor) -> Tensor:
    """Compute the graph of positions feature by feature, of one image (C, P)."""
    query, key, value = (points(p, x) for p in (module.query, module.key, module.value))
    features = range(len(query))
    mixed = torch.zeros_like(key)
    for read in features:
        scores = [float((query[read] * value[write]).sum()) for write in features]
        total = sum(exp(score - max(scores)) for score in scores)
        for write in features:
            mixed[write] += exp(scores[write] - max(scores)) / total * key[read]
    return (x + points(module.expand, points(module.update, mixed))).clamp(min=0)


def feature_graph(module: FeatureGraph, x: Tensor, sign: int = 1) -> Tensor:
    """Compute the graph of features node by node, of one image (C, P)."""
    phi, theta = points(module.phi, x), points(module.theta, x)
    nodes = torch.zeros(len(phi), len(theta), dtype=x.dtype)
    for feature, node, place in product(range(len(phi)), range(len(theta)), range(x.shape[1])):
        nodes[feature, node] += phi[feature, place] * theta[node, place]
    stepped = nodes + sign * points(module.adjacency, nodes.T).T
    updated = points(module.update, stepped)
    back = torch.zeros(len(phi), x.shape[1], dtype=x.dtype)
    for node in range(len(theta)):
        back += torch.outer(updated[:, node], theta[node])
    return (x + points(module.expand, back)).clamp(min=0)


def test_places_exchange_features_by_the_softmax_of_query_and_value() -> None:
    module = drawn(CoordinateGraph(8))
    assert isinstance(module, CoordinateGraph)
    x = torch.rand(2, 8, 3, 4, dtype=torch.float64)
    expected = [coordinate_graph(module, image.flatten(1)) for image in x]
    torch.testing.assert_close(module(x).flatten(2), torch.stack(expected))


def test_nodes_are_sums_over_the_map_and_gain_their_neighbours() -> None:
    module = drawn(FeatureGraph(8))
    assert isinstance(module, FeatureGraph)
    x = torch.rand(2, 8, 3, 4, dtype=torch.float64)
    added, taken = (
        torch.stack([feature_graph(module, image.flatten(1), sign) for image in x])
        for sign in (1, -1)
    )
    torch.testing.assert_close(module(x).flatten(2), added)
    assert (added - taken).abs().max() > 0.1


def test_without_neighbours_the_step_keeps_the_nodes() -> None:
    module = drawn(FeatureGraph(8))
    assert isinstance(module, FeatureGraph)
    for tensor in module.adjacency.parameters():
        tensor.data.zero_()
    x = torch.rand(1, 8, 3, 4, dtype=torch.float64)
    nodes = points(module.phi, x[0].flatten(1)) @ points(module.theta, x[0].flatten(1)).T
    back = points(module.update, nodes) @ points(module.theta, x[0].flatten(1))
    expected = (x[0].flatten(1) + points(module.expand, back)).clamp(min=0)
    torch.testing.assert_close(module(x)[0].flatten(1), expected)


def test_the_graph_of_places_gates_the_map_beside_the_graph_of_features() -> None:
    module = drawn(DualGraph(8))
    assert isinstance(module, DualGraph)
    x = torch.rand(1, 8, 9, 17, dtype=torch.float64)
    coarse = x
    for part in module.shrink:
        conv, norm = part.get_submodule("conv"), part.get_submodule("norm")
        assert isinstance(conv, nn.Conv2d)
        coarse = norm(F.conv2d(coarse, conv.weight, None, 2, 1, 1, 8))
    assert coarse.shape == (1, 8, 2, 3)
    places = coordinate_graph(module.coordinate, coarse[0].flatten(1)).reshape(1, 8, 2, 3)
    up = F.interpolate(places, (9, 17), mode="bilinear", align_corners=True)
    gated = (x * (1 + up))[0].flatten(1)
    both = torch.cat([gated, feature_graph(module.feature, x[0].flatten(1))])
    torch.testing.assert_close(module(x)[0].flatten(1), points(module.fuse, both))


def test_the_auxiliary_head_has_no_activation() -> None:
    with torch.device("meta"):
        head = DGCNet(19, aux=True).aux
    assert isinstance(head, nn.Sequential)
    assert [name for name, _ in head.get_submodule("reduce").named_children()] == ["conv", "norm"]
    assert head.get_submodule("reduce.conv").get_parameter("bias").shape == (512,)
