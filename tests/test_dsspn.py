"""DSSPN: its tree of concepts, the inputs of each neuron, and log-probabilities by loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cityscapesscripts.helpers.labels import labels as cityscapes_table
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.checkpoints.keys import count_classes
from dseg.errors import DsegError
from dseg.models import build_model
from dseg.models.dsspn import CITYSCAPES, DSSPN
from dseg.nn.propagation import Concept, Groups, PathSum, SemanticPropagation, make_hierarchy

DEEP = make_hierarchy((0, ((2, 3), 4), (5, 1)), 6)  # root, root_1 with root_1_0 below it, root_2


def make_graph(root: Concept = DEEP) -> SemanticPropagation:
    """Return a small graph in evaluation mode, whose norms are the identity."""
    torch.manual_seed(0)
    graph = SemanticPropagation(3, root, channels=4, mid=5, growth=2).eval()
    for module in graph.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    return graph


def shapes(model: DSSPN) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def build_shapes(num_classes: int, **kwargs: Any) -> DSSPN:
    with torch.device("meta"):
        model = build_model("dsspn_r101", num_classes, **kwargs)
    assert isinstance(model, DSSPN)
    return model


def test_the_tree_is_that_of_the_official_categories() -> None:
    categories: dict[str, list[int]] = {}
    for row in cityscapes_table:
        if not row.ignoreInEval:
            categories.setdefault(row.category, []).append(row.trainId)
    ours = {
        child.name if isinstance(child, Concept) else "sky": (
            list(child.children) if isinstance(child, Concept) else [child]
        )
        for child in CITYSCAPES.children
    }
    assert ours == {name: sorted(ids) for name, ids in categories.items()}


def test_a_lineage_is_a_concept_behind_its_ancestors() -> None:
    names = [[concept.name for concept in line] for line in DEEP.lineages()]
    assert names == [
        ["root"],
        ["root", "root_1"],
        ["root", "root_1", "root_1_0"],
        ["root", "root_2"],
    ]


def test_paths_lead_from_the_root_to_each_class() -> None:
    # steps: 0 root_1 root_2 | root_1_0 4 | 2 3 | 5 1
    assert DEEP.paths() == {
        0: [0],
        4: [1, 4],
        2: [1, 3, 5],
        3: [1, 3, 6],
        5: [2, 7],
        1: [2, 8],
    }
    assert PathSum(DEEP).weight[:, :, 0, 0].tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 1, 0, 1, 0, 0, 0],
        [0, 1, 0, 1, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 1, 0],
    ]


def test_a_group_of_one_is_its_class() -> None:
    assert make_hierarchy(((0, 1), (2,)), 3) == make_hierarchy([[0, 1], 2], 3)
    assert make_hierarchy((((0, 1),),), 2) == Concept("root", (0, 1))
    assert make_hierarchy(range(1), 1) == Concept("root", (0,))


@pytest.mark.parametrize(
    "groups",
    [(), ((0, 1), (2, 2, 3)), ((0, 1), 2), ((0, 1), (2, 3, 4)), ((0, 1), (2, 3), ()), (0, 1, -1)],
    ids=str,
)
def test_other_hierarchies_are_refused(groups: Groups) -> None:
    with pytest.raises(DsegError) as caught:
        DSSPN(4, 50, hierarchy=groups)
    assert (
        caught.value.problem
        == f"The hierarchy {groups} does not hold each of 4 classes exactly once."
    )
    assert caught.value.hint == "put each of the classes 0 to 3 into exactly one group."


def read_by_hand(graph: SemanticPropagation, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each neuron's map and scores in the small tree, computed one by one."""
    found = {}
    reduced = graph.reduce(x)

    def run(name: str, *read: Tensor) -> None:
        neuron = graph.neurons[name]
        joined = torch.cat([reduced, *read], 1)
        own = neuron.get_submodule("block")(joined)
        scores = neuron.get_submodule("classifier")(torch.cat([joined, own], 1))
        found[name] = own, scores.softmax(1)

    run("root")
    root, shares = found["root"]
    run("root_1", root * shares[:, 1:2])
    first, below = found["root_1"]
    run("root_1_0", root * shares[:, 1:2], first * below[:, 0:1])
    run("root_2", root * shares[:, 2:3])
    return found


def test_a_class_is_as_likely_as_all_steps_of_its_path_together() -> None:
    graph, x = make_graph(), torch.randn(2, 3, 4, 5)
    by_hand = {name: shares for name, (_, shares) in read_by_hand(graph, x).items()}
    root, one, deepest, two = (by_hand[n] for n in ("root", "root_1", "root_1_0", "root_2"))
    expected = torch.stack(
        [
            root[:, 0],
            root[:, 2] * two[:, 1],
            root[:, 1] * one[:, 0] * deepest[:, 0],
            root[:, 1] * one[:, 0] * deepest[:, 1],
            root[:, 1] * one[:, 1],
            root[:, 2] * two[:, 0],
        ],
        1,
    )
    ours = PathSum(DEEP)(graph(x)).exp()
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(ours.sum(1), torch.ones(2, 4, 5))


def test_cross_entropy_of_classes_is_the_sum_of_that_of_the_levels() -> None:
    steps = make_graph(CITYSCAPES)(torch.randn(2, 3, 4, 5)).detach()
    train_ids = torch.randint(0, 19, (2, 4, 5))
    ours = F.cross_entropy(PathSum(CITYSCAPES)(steps), train_ids, reduction="none")
    category = {0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 3, 9: 3, 10: 4, 11: 5, 12: 5}
    first = {0: 7, 1: 9, 2: 12, 3: 15, 5: 17, 6: 19}  # of each category's steps; the root has 7
    for n in range(2):
        for y in range(4):
            for x in range(5):
                train_id = int(train_ids[n, y, x])
                group = category.get(train_id, 6)
                loss = -steps[n, group, y, x]
                if group != 4:
                    within = train_id - min(k for k in range(19) if category.get(k, 6) == group)
                    loss = loss - steps[n, first[group] + within, y, x]
                torch.testing.assert_close(ours[n, y, x], loss)


def test_a_neuron_reads_its_ancestors_and_nobody_else() -> None:
    graph, x = make_graph(), torch.randn(1, 3, 4, 5)
    read = {
        name: neuron.get_parameter("block.conv1.weight").shape[1]
        for name, neuron in graph.neurons.items()
    }
    assert read == {"root": 4, "root_1": 6, "root_1_0": 8, "root_2": 6}
    before = graph(x).split([3, 2, 2, 2], 1)
    downward = {"root": [0, 1, 2, 3], "root_1": [1, 2], "root_1_0": [2], "root_2": [3]}
    for name, below in downward.items():
        norm = graph.get_submodule(f"neurons.{name}.block.norm2")
        assert isinstance(norm, nn.BatchNorm2d)
        norm.bias.data += 1
        after = graph(x).split([3, 2, 2, 2], 1)
        norm.bias.data -= 1
        changed = [i for i, (a, b) in enumerate(zip(after, before, strict=True)) if not a.equal(b)]
        assert changed == below


def test_an_ancestor_that_sees_no_such_concept_is_not_read() -> None:
    graph, x = make_graph(), torch.randn(1, 3, 4, 5)
    bias = graph.get_parameter("neurons.root.classifier.bias")
    bias.data[1] -= 1e4  # no pixel is of root_1
    before = graph(x)[:, 3:7]
    norm = graph.get_submodule("neurons.root.block.norm2")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.bias.data += 1
    assert torch.equal(graph(x)[:, 3:7], before)


def test_a_neuron_whose_concept_no_pixel_has_learns_nothing() -> None:
    graph = make_graph(CITYSCAPES).double()
    train_ids = torch.randint(0, 11, (2, 4, 5))  # neither human nor vehicle
    steps = graph(torch.randn(2, 3, 4, 5).double())
    F.cross_entropy(PathSum(CITYSCAPES).double()(steps), train_ids).backward()
    largest = {
        name: max(float(p.grad.abs().max()) for p in neuron.parameters() if p.grad is not None)
        for name, neuron in graph.neurons.items()
    }
    idle = {name for name, gradient in largest.items() if gradient < 1e-15}
    assert idle == {"human", "vehicle"}
    assert min(largest[name] for name in largest.keys() - idle) > 1e-5


def test_the_classes_of_a_file_are_counted_by_its_paths() -> None:
    for classes in (19, 11, 3):
        assert count_classes(DSSPN, build_shapes(classes).state_dict()) == classes
    assert shapes(build_shapes(19))["classifier.weight"] == (19, 25, 1, 1)


def test_other_classes_have_one_neuron_unless_they_are_grouped() -> None:
    assert list(build_shapes(11).get_submodule("context.neurons")._modules) == ["root"]
    grouped = build_shapes(4, hierarchy=((0, 3), (1, 2)))
    names = list(grouped.get_submodule("context.neurons")._modules)
    assert names == ["root", "root_0", "root_1"]
    assert grouped.card.kwargs == {"depth": 101, "hierarchy": ((0, 3), (1, 2))}


def test_what_depends_on_the_classes_is_below_the_prefixes() -> None:
    ours, others = shapes(build_shapes(19)), shapes(build_shapes(7))
    differing = {key for key in ours.keys() | others.keys() if ours.get(key) != others.get(key)}
    assert differing
    assert all(key.startswith(DSSPN.classifiers) for key in differing)
