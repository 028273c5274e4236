"""The house is in order: imports run one way, pure files stay pure, tests mirror sources."""

import ast
import re
import subprocess
import sys
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
    "records": {"fields"},
    "layout": {"enums", "fields", "records"},
    "core": {"errors", "layout"},
    "pure_board": {"layout", "errors"},
    "liveness": {"layout"},
    "counters": {"layout"},
    "board": {"layout", "errors", "core", "pure_board"},
    "bells": {"core", "segment"},
    "segment_file": {"layout", "errors", "liveness", "refusals"},
    "segment": {
        "layout",
        "errors",
        "core",
        "liveness",
        "counters",
        "board",
        "segment_file",
        "refusals",
    },
}

PURE = (
    "venue/*.py",
    "cache/bn_poll.py",
    "cache/enums.py",
    "cache/errors.py",
    "cache/fields.py",
    "cache/gate.py",
    "cache/layout.py",
    "cache/md_entry.py",
    "cache/records.py",
    "cache/refusals.py",
    "cache/warmup.py",
    "cache/snapshots.py",
    "feeds/dialing.py",
    "feeds/book.py",
    "feeds/certificate.py",
    "feeds/features.py",
    "feeds/gamma_fields.py",
    "feeds/pure_book.py",
    "feeds/text_numbers.py",
    "feeds/strike.py",
    "feeds/binance_order.py",
    "cache/ladder.py",
    "feeds/subscriptions.py",
    "feeds/*_wire.py",
    "strategy/basis.py",
    "strategy/frozen.py",
    "strategy/market_maker.py",
    "strategy/pricing.py",
    "strategy/quoting.py",
    "strategy/reference.py",
    "strategy/strategy_cache.py",
    "strategy/tick.py",
    "executor/account.py",
    "executor/diff.py",
    "executor/gateway.py",
    "executor/ledger.py",
    "executor/leftovers.py",
    "executor/market.py",
    "executor/orders.py",
    "executor/paper.py",
    "executor/resting.py",
    "executor/risk.py",
    "host/page.py",
    "host/restart.py",
    "host/roles.py",
    "host/rules.py",
    "host/show.py",
    "sim/agents.py",
    "sim/binance_rules.py",
    "sim/candles.py",
    "sim/depth.py",
    "sim/events.py",
    "sim/fair.py",
    "sim/frames.py",
    "sim/gamma.py",
    "sim/garbage.py",
    "sim/market.py",
    "sim/mirror_book.py",
    "sim/model.py",
    "sim/moods.py",
    "sim/params.py",
    "sim/price.py",
    "sim/recorded_book.py",
    "sim/seeding.py",
    "sim/series.py",
    "sim/settlement_feed.py",
    "sim/tape.py",
    "sim/wire.py",
)
CLAIM = re.compile(r"\b[Pp]ure(ly)?[.:;,]")
"""How a docstring says that its module is pure."""

# What a pure file may import besides pure files of this house.
HARMLESS = {
    "__future__", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum", "fnmatch",
    "functools", "hashlib", "heapq", "itertools", "json", "math", "msgspec", "numpy", "operator",
    "orjson", "re", "statistics", "struct", "types", "typing", "urllib.parse", "zlib",
}  # fmt: skip
# What a pure file may be handed, or names: types of the shared memory, units, the command line.
TYPES = {
    "cache.board", "cache.core", "cache.counters", "cache.liveness", "feeds.core", "feeds.pair",
    "host.clock.NS_PER_MS", "host.clock.NS_PER_S", "host.picture", "host.settings",
    "rich.box", "rich.console", "rich.segment", "rich.table", "rich.text", "sys",
}  # fmt: skip
# Only the model draws, and only from generators with a seed.
SEEDED = {"sim/agents.py", "sim/moods.py", "sim/seeding.py"}
CLOCKS = {
    "monotonic", "monotonic_ns", "now", "perf_counter", "perf_counter_ns", "time", "time_ns",
    "today", "utcnow",
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


PURE_FILES = sorted({path for rule in PURE for path in ROOT.glob(rule)})
PURE_MODULES = {_name(path).removesuffix(".py").replace("/", ".") for path in PURE_FILES}


def test_a_file_that_says_it_is_pure_is_held_to_it():
    claiming = [path for path in SOURCES if CLAIM.search(ast.get_docstring(_tree(path)) or "")]
    assert [_name(path) for path in claiming if path not in PURE_FILES] == []
    assert [rule for rule in PURE if not list(ROOT.glob(rule))] == []


def _may_be_in_a_pure_file(path, name):
    """Whether an import is harmless, of a pure module, or of a type only."""
    parents = {name.rsplit(".", count)[0] for count in range(name.count(".") + 1)}
    is_seeded = "random" in parents and _name(path) in SEEDED
    return is_seeded or bool(parents & (HARMLESS | PURE_MODULES | TYPES))


@pytest.mark.parametrize("path", PURE_FILES, ids=_name)
def test_a_pure_file_does_no_io_and_reads_no_clock(path):
    for line, name in _imports(path):
        assert _may_be_in_a_pure_file(path, name), f"{_name(path)}:{line} imports {name}"
    for node in ast.walk(_tree(path)):
        where = f"{_name(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input", *CLOCKS), where
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, _, called = ast.unparse(node.func).rpartition(".")
            assert owner not in ("date", "datetime", "time") or called not in CLOCKS, where
            assert not owner.endswith("np.random") or node.args, where  # A seed, or no generator.


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


GATES = {"gate", "pure_gate", "serve", "judge", "depth_of", "BookAccess"}
"""What turns a read into a book and its trust: all of it is `cache/gate.py`."""


def test_strategy_executor_and_tools_judge_books_by_the_one_gate_and_in_one_place_each():
    judging = {
        _name(path)
        for path in SOURCES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ImportFrom) and node.module in ("cache.gate", "cache.book_access")
        if any(alias.name in GATES for alias in node.names)
        if _name(path).split("/")[0] in ("strategy", "executor", "host", "feeds", "sim")
    }
    assert judging == {"strategy/views.py", "executor/inputs.py", "host/trust.py"}


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


@pytest.mark.parametrize("feed", ["polymarket", "binance"])
def test_a_feed_loads_nothing_heavy_that_each_restart_would_pay_for(feed):
    program = f"import sys, feeds.__main__, feeds.{feed}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "aiohttp", "rich", "multiprocessing"}
    assert not heavy & set(done.stdout.split())


REQUIREMENTS = (ROOT / "docs" / "requirements.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in REQUIREMENTS.splitlines()
    if line.startswith("| ") and not line.startswith("| statement ")
]


def _functions(path):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(_tree(path)) if isinstance(node, kinds)}


def test_every_test_that_the_requirements_name_exists():
    names, missing = set(), []
    for file, name in re.findall(r"(tests/[\w/]+\.py)?(?:::(\w+))?", REQUIREMENTS):
        if file:
            names = _functions(ROOT / file)
        if name and name not in names:
            missing.append(f"{file}::{name}")
    assert not missing


def test_every_requirement_says_in_files_that_are_there_where_it_holds_and_what_tests_it():
    assert len(ROWS) > 100
    for row in ROWS:
        assert len(row) == 3, row
        _, _, tested = row
        assert tested == "-" or re.search(r"tests/[\w/]+\.py|python -m bench ", tested), row
    named = set(re.findall(r"\b[a-z]+/[\w/-]+\.(?:py|c|md)\b", REQUIREMENTS))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


LINES_NOT_RUN = """
import sys, types
import pytest

target, tests = sys.argv[1:]
run = set()


def trace(frame, event, arg):
    if frame.f_code.co_filename != target:
        return None
    run.add(frame.f_lineno)
    return trace


def lines(code):
    found = {line for _, _, line in code.co_lines() if line}
    return found.union(*map(lines, (c for c in code.co_consts if isinstance(c, types.CodeType))))


sys.settrace(trace)
status = pytest.main(["-q", "-p", "no:cacheprovider", tests])
sys.settrace(None)
print(status.value, sorted(lines(compile(open(target).read(), target, "exec")) - run))
"""


def test_the_strategy_cache_has_the_tests_of_each_kind_and_they_run_every_line_of_it():
    source, tests = "strategy/strategy_cache.py", "tests/strategy/test_strategy_cache.py"
    kinds = (ROOT / tests).read_text().split("\n# --- ")[1:]
    found = [kind.count("\ndef test_") for kind in kinds]
    assert all(map(int.__ge__, found, (2, 3, 3, 3, 3, 3, 2, 1))), found
    command = [sys.executable, "-c", LINES_NOT_RUN, str(ROOT / source), tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
