"""The house, proved by reading it: who may import whom, what the pure floors may not touch, sizes, and the menu.

The table is the one of the architecture: two pure floors at the bottom, ports on them, adapters on the ports, engine and
task, then the doors. Imports inside functions count; imports for type checking only do too.
"""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import pytest
from attrs import frozen

import aggmaint
from aggmaint import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "aggmaint"
FILES = sorted(PACKAGE.rglob("*.py"))

STDLIB_VALUES: Final = frozenset(
    {
        "__future__",
        "abc",
        "attrs",
        "base64",
        "bisect",
        "calendar",
        "collections",
        "zlib",
        "contextlib",
        "croniter",
        "dataclasses",
    }
    | {"datetime", "decimal", "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "itertools", "json"}
    | {"math", "operator", "re", "string", "textwrap", "types", "typing", "unicodedata", "zoneinfo"}
)
"""What a pure floor may import from outside: values and functions of them."""

PORTS: Final = frozenset({"store", "scheduler", "warehouse", "task", "clock"})
MAY_IMPORT: Final[dict[str, frozenset[str]]] = {
    "errors": frozenset(),
    "core": frozenset({"errors", "core"}),
    "aggregates": frozenset({"errors", "aggregates"}),
    "port": frozenset({"errors", "core", "aggregates", "port"}),
    "stores": frozenset({"errors", "core", "store", "clock", "stores"}),
    "schedulers": frozenset({"errors", "core", "scheduler", "clock", "schedulers"}),
    "warehouses": frozenset({"errors", "core", "aggregates", "warehouse", "clock", "warehouses"}),
    "engine": frozenset({"errors", "core", "port", "engine"}),
    "maintenance": frozenset({"errors", "core", "aggregates", "warehouse", "task", "maintenance"}),
    "menu": frozenset({"errors", "core", "port", "engine"}),
}
"""By layer; layers not named here (config, asgi, cli, testing) may import everything below them."""

DOORS: Final = frozenset({"config", "asgi", "client", "cli", "testing", "__main__"})
EXCEPTIONS: Final = frozenset({("aggmaint.engine", "aggmaint.schedulers.thread")})
"""The default scheduler, imported when an engine without one is started."""

FORBIDDEN_CALLS: Final = frozenset(
    {"now", "utcnow", "today", "uuid1", "uuid4", "open", "getrandbits", "print", "input", "sleep", "monotonic"}
)
FORBIDDEN_NAMES: Final = frozenset({"uuid1", "uuid4", "SystemRandom", "utcnow", "import_module", "__import__"})
"""Also where they are only named, such as `Factory(uuid4)`."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """The layer's name in MAY_IMPORT; a port is `port` as importer."""
    name = part_of(module)
    return "port" if name in PORTS else name


def part_of(module: str) -> str:
    """The first name below `aggmaint`, private siblings counted to what they belong to."""
    parts = module.split(".")
    if len(parts) == 1:
        return "menu"
    name = parts[1]
    if name in ("worker", "_running", "_slots", "_committing", "_administration", "_use_buffer", "_pulse"):
        return "engine"
    return next((owner for owner in ("maintenance", "config") if name.startswith(f"_{owner}")), name)


@frozen
class Import:
    importer: str
    target: str
    line: int


def is_module(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, absolute, function-level ones included."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                yield Import(module, inside if base.startswith("aggmaint") and is_module(inside) else base, node.lineno)


IMPORTS = [found for path in FILES for found in imports_of(path)]


def allowed(found: Import) -> bool:
    if (found.importer, found.target) in EXCEPTIONS:
        return True
    importer, target = layer_of(found.importer), part_of(found.target)
    if importer in DOORS:
        return not (target == "testing" and importer != "testing")
    if importer not in MAY_IMPORT:
        return False
    return target in MAY_IMPORT[importer] or layer_of(found.target) in MAY_IMPORT[importer]


def test_imports_point_down() -> None:
    inside = [found for found in IMPORTS if found.target.split(".")[0] == "aggmaint" and found.target != "aggmaint"]
    wrong = [f"{found.importer}:{found.line} imports {found.target}" for found in inside if not allowed(found)]
    assert not wrong, "\n".join(wrong)


def test_the_one_exception_is_used() -> None:
    assert {(found.importer, found.target) for found in IMPORTS} >= EXCEPTIONS


def test_ports_know_only_the_model_of_aggregates() -> None:
    used = {found.target for found in IMPORTS if layer_of(found.importer) == "port" and ".aggregates." in found.target}
    assert not {target for target in used if target.rpartition(".")[2] not in MODEL_MODULES}, used


MODEL_MODULES: Final = frozenset(
    {"model", "decisions", "looking", "observation", "plan", "policy", "reasons", "naming", "periods"}
)


def test_nobody_imports_the_menu_from_inside() -> None:
    wrong = [f for f in IMPORTS if f.target == "aggmaint" and part_of(f.importer) not in {*DOORS, "menu"}]
    assert not wrong


@pytest.mark.parametrize(
    "path", [p for p in FILES if part_of(module_of(p)) in ("core", "aggregates", "errors")], ids=str
)
def test_pure_floors_are_pure(path: Path) -> None:
    """No clock, no chance, no threads, no log, no files."""
    module = module_of(path)
    extra = {"sqlglot", "uuid"} if part_of(module) == "aggregates" else set()  # uuid: names from content (uuid5)
    for found in imports_of(path):
        top = found.target.split(".")[0]
        if top == "sys" and _only_below_main(path, found.line):
            continue
        assert top in STDLIB_VALUES | extra | {"aggmaint"}, f"{module}:{found.line} imports {found.target}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in FORBIDDEN_CALLS, f"{module}:{node.lineno} calls {name}()"
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            assert name not in FORBIDDEN_NAMES, f"{module}:{node.lineno} uses {name}"


def _only_below_main(path: Path, line: int) -> bool:
    """`if __name__ == "__main__":` is a script's door, not the floor."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, ast.If)
            and "__main__" in ast.dump(node.test)
            and node.lineno <= line <= (node.end_lineno or 0)
        ):
            return True
    return False


def test_sqlglot_is_imported_inside_functions_only() -> None:
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("sqlglot", "croniter")], f"{path}:{node.lineno}"


HEAVY: Final = sorted(
    {"sqlite_utils", "psycopg", "duckdb", "sqlglot", "starlette", "uvicorn", "aggmaint.config", "aggmaint.aggregates"}
    | {"click", "rich", "pytest", "hypothesis", "asyncio", "croniter", "jinja2"}
)


def test_import_aggmaint_is_light() -> None:
    script = f"import json, sys, aggmaint; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == []


# -- ports, errors, sizes ----------------------------------------------------------------------------------------------


def ports() -> Iterator[type]:
    for name in sorted(PORTS):
        if not (PACKAGE / f"{name}.py").exists():
            continue
        module = __import__(f"aggmaint.{name}", fromlist=["_"])
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and Protocol in kind.__bases__:
                yield kind


def verbs(port: type) -> list[str]:
    return [name for name, value in vars(port).items() if not name.startswith("_") and callable(value)]


def test_ports_have_at_most_8_verbs() -> None:
    found = list(ports())
    assert {port.__name__ for port in found} >= {"JobStore", "Scheduler", "MaintenanceTask", "TaskContext", "Clock"}
    for port in found:
        assert 1 <= len(verbs(port)) <= 8, f"{port.__name__}: {verbs(port)}"


@pytest.mark.parametrize(
    "error",
    [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)],
    ids=lambda kind: str(kind.__name__),
)
def test_errors_have_one_base_a_name_and_a_message(error: type[BaseException]) -> None:
    assert issubclass(error, errors.AggmaintError)
    assert error.__name__.endswith("Error")
    assert vars(error).get("__doc__"), f"{error.__name__} has no docstring, which is its default message"
    assert 400 <= error.http_status <= 599


def test_an_error_without_words_says_its_docstring() -> None:
    assert str(errors.UnknownOutcomeError()) == (errors.UnknownOutcomeError.__doc__ or "").splitlines()[0]


FILE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 60
FILES_EXEMPT: Final[dict[str, str]] = {}
"""Files that may be longer, each with its reason."""
FUNCTIONS_EXEMPT: Final[dict[str, str]] = {}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_fit_their_size() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: n for name, n in lines.items() if n > FILE_LINES_MAX and name not in FILES_EXEMPT}


def test_functions_fit_one_screen() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{f.name}": (f.end_lineno or 0) - f.lineno + 1
        for path in FILES
        for f in functions(path)
        if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert not {name: n for name, n in long.items() if name not in FUNCTIONS_EXEMPT}


@pytest.mark.parametrize(
    "path", [p for p in FILES if part_of(module_of(p)) in ("core", "aggregates", "stores", "engine")], ids=str
)
def test_rules_open_with_a_theory_of_operation(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


# -- the menu ----------------------------------------------------------------------------------------------------------


def test_the_menu_is_complete_and_nothing_else() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(imported) == aggmaint.__all__
    for node in tree.body:
        assert isinstance(node, ast.ImportFrom | ast.Expr | ast.Assign), f"line {node.lineno} does something"


def test_every_name_on_the_menu_is_documented() -> None:
    for name in aggmaint.__all__:
        value = getattr(aggmaint, name)
        if inspect.isclass(value):
            assert vars(value).get("__doc__") and not _made_by_attrs(value), f"{name} has no docstring"


def _made_by_attrs(kind: type) -> bool:
    return (kind.__doc__ or "").startswith("Method generated by attrs")


def test_every_method_of_the_engine_is_documented() -> None:
    for name, value in vars(aggmaint.MaintenanceEngine).items():
        if not name.startswith("_") and callable(value):
            assert value.__doc__, f"MaintenanceEngine.{name} has no docstring"
