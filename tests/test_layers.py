"""Each folder imports only from lower levels, according to the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dseg"
LEVELS = {
    "errors": 0, "protocol": 0, "registry": 0, "recipes": 0, "labels": 0, "allocator": 0,
    "memory": 0, "parallel": 0, "jsonio": 0, "plugins": 0,
    "config": 1, "device": 1, "files": 1, "locks": 1, "nn": 1, "models": 2, "downloads": 2,
    "images": 3, "render": 3, "distributed": 3, "video": 3, "speeds": 3,
    "checkpoints": 4, "datasets": 4, "synth": 4, "sources": 4, "folding": 4, "losses": 4,
    "graphs": 5, "quantisation": 5, "data": 5, "transfer": 5, "predict": 6, "bench": 7,
    "evaluation": 7, "survey": 5, "planning": 9, "tomlio": 0, "training": 8, "export": 9, "api": 10,
    "cli": 10,
}  # fmt: skip
NOT_AT_IMPORT = {"torch", "torchvision", "numpy", "PIL"}  # dseg --help answers without them
ONLY_IN_CONSOLE = {"rich"}
AT_IMPORT = {
    *("cli", "parallel", "memory", "errors", "protocol", "registry", "recipes", "plugins"),
    "labels",
    "config",
    "__version__",
}
FILES = sorted(PACKAGE.rglob("*.py"))


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "dseg":
                names |= {f"dseg.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_lower_levels(path: Path) -> None:
    folder = folder_of(path)
    if folder in ("__init__", "__main__"):
        return
    folders = {
        name.split(".")[1] for name in imported(ast.parse(path.read_text())) if "dseg." in name
    }
    upward = {
        other
        for other in folders - {folder, "__version__"}
        if LEVELS[other] > LEVELS[folder]
        or (LEVELS[other] == LEVELS[folder] and LEVELS[folder] > 0)
    }
    # level 3: render draws into pixels that images decodes; level 0: registry names errors
    assert not upward - ({"images"} if folder == "render" else set()), f"{folder} imports {upward}"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if folder_of(path) == "cli"],
    ids=lambda path: path.stem,
)
def test_a_command_imports_nothing_heavy_before_it_runs(path: Path) -> None:
    tree = ast.parse(path.read_text())
    at_import = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            at_import |= imported(ast.Module(body=[node], type_ignores=[]))
    roots = {name.split(".")[0] for name in at_import}
    folders = {name.split(".")[1] for name in at_import if name.startswith("dseg.")}
    assert not roots & NOT_AT_IMPORT
    assert folders <= AT_IMPORT
    if path.stem not in ("console", "tables", "wrapping"):
        assert not roots & ONLY_IN_CONSOLE


def test_only_images_opens_pixels() -> None:
    openers = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if "Image.open(" in path.read_text() or "png_decode" in path.read_text()
    }
    assert openers == {"images/opening.py", "images/deep_png.py", "images/plain_png.py"}


def test_scenes_are_drawn_through_one_module() -> None:
    for path in FILES:
        if folder_of(path) != "synth":
            names = imported(ast.parse(path.read_text()))
            assert not [name for name in names if name.startswith("dseg.synth.")], path


def test_only_the_official_engine_imports_cityscapesscripts() -> None:
    package = "cityscapesscripts"
    trees = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in FILES}
    by_statement = {
        name
        for name, tree in trees.items()
        if any(module.split(".")[0] == package for module in imported(tree))
    }
    by_name = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and str(node.value).startswith(f"{package}.")
    }
    assert by_statement == set()
    assert by_name == {"evaluation/cityscapes/official_script.py"}  # imported when it is asked for


def test_no_file_has_more_than_300_lines() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 300} == {}
