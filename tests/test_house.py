"""The house is in order: imports run one way, pure files stay pure, tests mirror sources."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("venue", "cache", "host", "feeds", "strategy", "executor", "sim", "bench")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))

# A package may import from itself and from what stands here. feeds, strategy, executor and sim
# meet in memory and never import each other.
MAY_IMPORT = {
    "venue": set(),
    "cache": {"venue"},
    "host": {"venue", "cache"},
    "feeds": {"venue", "cache", "host"},
    "strategy": {"venue", "cache", "host"},
    "executor": {"venue", "cache", "host"},
    "sim": {"venue", "cache", "host"},
    "bench": set(PACKAGES),
}

# Inside cache, the ground floor knows only what stands here.
CACHE_FLOORS = {
    "enums": set(),
    "fields": set(),
    "errors": set(),
    "layout": {"enums", "fields"},
    "core": {"errors", "layout"},
    "pure_board": {"layout", "errors"},
    "liveness": {"layout"},
    "counters": {"layout"},
    "board": {"layout", "errors", "core", "pure_board"},
    "bells": {"core", "segment"},
    "segment_file": {"layout", "errors", "liveness"},
    "segment": {"layout", "errors", "core", "liveness", "counters", "board", "segment_file"},
}

PURE = (
    "venue/*.py",
    "cache/layout.py",
    "cache/errors.py",
    "feeds/book.py",
    "feeds/*_wire.py",
    "feeds/features.py",
    "strategy/pricing.py",
    "strategy/quoting.py",
    "strategy/market_maker.py",
    "strategy/tick.py",
    "executor/orders.py",
    "executor/diff.py",
    "executor/risk.py",
    "executor/paper.py",
    "sim/model.py",
    "sim/price.py",
    "sim/market.py",
    "sim/matching.py",
)
IMPURE = {
    "aiohttp", "asyncio", "fcntl", "host", "mmap", "os", "pathlib", "random", "select", "signal",
    "socket", "subprocess", "threading", "time", "uvloop", "websockets",
}  # fmt: skip

# Modules that are nothing but an entry, a door or data.
NEEDS_NO_TEST = {"__init__", "__main__", "errors", "enums", "settings"}

LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def _tree(path):
    return ast.parse(path.read_text(), str(path))


def _imports(path):
    """(line, dotted name) of every import, wherever it stands in the file."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_run_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT[package] | {package}
    for line, name in _imports(path):
        top = name.split(".")[0]
        if top in PACKAGES:
            assert top in allowed, f"{_name(path)}:{line} imports {name}"
    floor = CACHE_FLOORS.get(path.stem) if package == "cache" else None
    if floor is not None:
        for line, name in _imports(path):
            parts = name.split(".")
            module = parts[1] if parts[0] == "cache" else None
            assert module is None or module in floor, f"{_name(path)}:{line} imports {name}"


def test_the_supervisor_and_the_command_line_know_command_lines_not_modules():
    for path in (ROOT / "host").glob("*.py"):
        for line, name in _imports(path):
            assert name.split(".")[0] not in ("feeds", "strategy", "executor", "sim"), (
                f"{_name(path)}:{line} imports {name}"
            )


@pytest.mark.parametrize(
    "path", sorted({path for rule in PURE for path in ROOT.glob(rule)}), ids=_name
)
def test_a_pure_file_does_no_io_and_reads_no_clock(path):
    for line, name in _imports(path):
        assert name.split(".")[0] not in IMPURE, f"{_name(path)}:{line} imports {name}"
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input"), f"{_name(path)}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_module_says_what_it_is_for_and_stays_small(path):
    text = path.read_text()
    tree = _tree(path)
    if text.strip():
        assert ast.get_docstring(tree), f"{_name(path)} has no docstring"
    assert text.count("\n") <= LINES_MAX, f"{_name(path)} has {text.count(chr(10))} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = node.end_lineno - node.lineno + 1
            assert size <= FUNCTION_LINES_MAX, f"{_name(path)}:{node.lineno} {node.name}: {size}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_but_the_process_frame_catches_everything(path):
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ExceptHandler) and _name(path) != "host/process.py":
            caught = ast.unparse(node.type) if node.type else "everything"
            reraises = any(isinstance(part, ast.Raise) for part in ast.walk(node))
            assert caught not in ("everything", "Exception"), f"{_name(path)}:{node.lineno}"
            assert caught != "BaseException" or reraises, f"{_name(path)}:{node.lineno}"


def test_every_module_has_a_test_file_of_its_own_and_every_test_file_a_module():
    have = {
        path.relative_to(ROOT / "tests")
        for name in PACKAGES
        for path in (ROOT / "tests" / name).glob("test_*.py")
    }
    want = {
        path.relative_to(ROOT).with_name(f"test_{path.stem.removeprefix('_')}.py")
        for path in SOURCES
        if path.stem not in NEEDS_NO_TEST and path.relative_to(ROOT).parts[0] != "bench"
    }
    assert not want - have, f"without a test file: {sorted(map(str, want - have))}"
    assert not have - want, f"without a module: {sorted(map(str, have - want))}"


def test_tests_have_no_packages_that_could_shadow_the_sources():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_test_waits_for_a_recording_where_recordings_are_not_named():
    for path in (ROOT / "tests").rglob("*.py"):
        assert "/shared" + "/data" not in path.read_text(), _name(path)


def test_the_repository_speaks_of_the_product_alone():
    foreign = re.compile(r"/work/|/tmp/penstock/|\bhelper-\d|PENSTOCK_ISSUE")
    for path in (*SOURCES, *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "Makefile"):
        found = foreign.search(path.read_text())
        assert not found, f"{_name(path)}: {found and found.group()}"
