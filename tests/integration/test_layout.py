"""The house's rules: imports point one way, and `import verl_vip` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import ROOT

from verl_vip import __version__

OUTER = ("verl", "vllm", "ray", "transfer_queue", "prefect")
ROOMS = ("verl_vip.workers", "verl_vip.flows", "verl_vip.recipes")
COMMAND = ROOT / "verl_vip" / "cli"
#: The library's packages and modules, from the ground up: each may import those of earlier rows only.
LEVELS = (
    ("errors",),
    ("annotations",),
    ("by_name", "checks", "config", "durable_files", "json_lines", "names", "regular_files", "text"),
    ("state_file",),
    ("allocation", "execution", "statistics"),
    ("prediction",),
    ("advantages",),
    ("strategies",),
    ("evaluation", "simulation"),
    ("records",),
    ("reporting",),
    ("evaluate",),
    ("cli",),
)


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room a module lies in"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def lies_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def sources(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, f"{room} holds no module"
    return found


@pytest.mark.parametrize("path", sources("verl_vip"), ids=lambda path: str(path.relative_to(ROOT)))
def test_library_knows_no_outer_package_and_no_outer_room(path):
    modules = imported_modules(path)
    assert not [module for module in modules if lies_in(module, OUTER)]
    if path.parent != COMMAND:
        assert not [module for module in modules if lies_in(module, ROOMS)]


def part_of(module: str) -> str:
    return module.split(".")[1]


def test_every_part_of_the_library_has_a_level():
    there = {path.stem if path.is_file() else path.name for path in (ROOT / "verl_vip").iterdir()}
    there -= {"__init__", "__pycache__", "py", "workers", "flows", "recipes"}
    assert {name for level in LEVELS for name in level} == {name for name in there if not name.startswith(".")}


@pytest.mark.parametrize("path", sources("verl_vip"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_within_the_library_point_down(path):
    height = {name: level for level, names in enumerate(LEVELS) for name in names}
    own = path.relative_to(ROOT / "verl_vip").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    modules = [module for module in imported_modules(path) if lies_in(module, ("verl_vip",)) and "." in module]
    others = {part_of(module) for module in modules if part_of(module) in height} - {own}
    assert not {other for other in others if height[other] >= height[own]}


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("workers", ("prefect", "verl_vip.flows")),
        ("flows", ("verl", "vllm", "transfer_queue", "verl_vip.workers")),
        ("recipes", (*OUTER, "verl_vip.workers", "verl_vip.flows")),
    ],
)
def test_outer_rooms_do_not_see_each_other(room, forbidden):
    for path in sources(room):
        assert not [module for module in imported_modules(path) if lies_in(module, forbidden)], path


def test_a_class_name_stands_for_one_class():
    """A name of a type is that of one class, or of aliases only."""
    classes, aliases = dict[str, list[str]](), set[str]()
    for path in (path for room in ("verl_vip", "workers", "flows", "recipes", "benchmarks") for path in sources(room)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                aliases.add(node.targets[0].id)
    twice = {name: places for name, places in classes.items() if len(places) > 1 or name in aliases}
    assert not twice


@pytest.mark.parametrize("path", sources("verl_vip/cli"), ids=lambda path: path.name)
def test_only_the_command_names_outer_rooms_and_only_when_it_runs(path):
    at_top = [node.module or "" for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
    assert {module for module in at_top if lies_in(module, ROOMS)} <= {"verl_vip.flows.parameters"}


def test_importing_the_package_is_light():
    code = "import sys, verl_vip; print([name for name in ('torch', 'numpy', 'verl', 'ray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("fact", ["vip_records.jsonl", __version__])
def test_a_fact_stands_in_one_module(fact):
    rooms = ("verl_vip", "workers", "flows", "recipes", "docs", "benchmarks")
    literals = {
        path: [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        for path in dict.fromkeys(path.resolve() for room in rooms for path in sources(room))
    }
    assert len([path for path, values in literals.items() if fact in values]) == 1


def test_every_lock_is_opened_by_the_one_function_that_follows_no_link():
    records = ROOT / "verl_vip" / "records" / "records.py"  # locks the data itself, which it opens to append
    for path in (path for room in ("verl_vip", "workers", "flows") for path in sources(room) if path != records):
        text = path.read_text()
        if "fcntl.flock(" in text or "fcntl.lockf(" in text or "F_GETLK" in text:
            assert "open_lock(" in text, path
