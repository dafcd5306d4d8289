"""Python functions of views: recorded with all they need, so that an old version of a view still runs when the file has changed.

A function is recorded as a module of its own: the imports, constants and other functions of the project that it reaches, then
the function itself. Comments, docstrings and annotations are left out, so that only a change of behaviour makes a new version.
What cannot be written down (an open connection, a trained model, a table) is refused where the function is declared.

Recorded code runs where the caller is, never in the server's process.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import math
import sys
import sysconfig
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from everloop.domain.featureviews import Code
from everloop.errors import Failed, InvalidDefinition

_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_OWN = str(Path(__file__).resolve().parents[1])


def recorded(function: Callable[..., Any], what: str) -> Code:
    """The function as text that runs on its own. Raises InvalidDefinition that names what cannot be recorded, with its line."""
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
        raise InvalidDefinition(f"{what} is not a function with a name", hint="write it with def")
    parts = _Parts(what)
    parts.function(function)
    return Code(function.__name__, parts.text())


@functools.lru_cache(maxsize=256)
def loaded(code: Code) -> Callable[..., Any]:
    """The function that was recorded."""
    name = f"<{code.function}, as recorded>"
    linecache.cache[name] = (len(code.source), None, code.source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": f"everloop.recorded.{code.function}"}
    exec(compile(code.source, name, "exec"), namespace)
    found: Callable[..., Any] = namespace[code.function]
    return found


def call(code: Code, what: str, *args: Any, **kwargs: Any) -> Any:
    """Run recorded code. Whatever it raises comes out as Failed, naming the line."""
    try:
        return loaded(code)(*args, **kwargs)
    except Exception as error:  # a user's function may raise anything at all
        frames = [
            each for each in traceback.extract_tb(error.__traceback__) if "as recorded>" in each.filename
        ]
        place = f", line {frames[-1].lineno} of its code ({frames[-1].line})" if frames else ""
        raise Failed(
            f"{what}{place}: {type(error).__name__}: {error}", hint="mend the function and apply it"
        ) from error


class _Parts:
    """What a function reaches, as it will be written down."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._imports: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._functions: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def text(self) -> str:
        """Imports, constants, functions in the order in which they are needed."""
        parts = [
            *sorted(self._imports.values()),
            *(self._constants[name] for name in sorted(self._constants)),
        ]
        return "\n".join([*parts, *self._functions.values()]) + "\n"

    def function(self, function: FunctionType) -> None:
        node = self._definition(function)
        if function.__code__.co_freevars:
            raise self._refused(
                function,
                node,
                f"uses '{function.__code__.co_freevars[0]}' of the function around it",
                "pass it in",
            )
        self._values[function.__name__] = function
        own = {function.__name__}
        for name in _outer_names(node):
            if name in own:
                continue
            if name in function.__globals__:
                self._value(name, function.__globals__[name], function, node)
            elif not hasattr(builtins, name):
                raise self._refused(
                    function, node, f"uses '{name}', which nothing defines", "define or import it"
                )
        self._functions[function.__name__] = ast.unparse(node)

    def _definition(self, function: FunctionType) -> ast.FunctionDef:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, SyntaxError) as error:
            raise InvalidDefinition(
                f"{self._what}: the text of '{function.__name__}' cannot be read", hint="declare it in a file"
            ) from error
        node = tree.body[0]
        if not isinstance(node, ast.FunctionDef):
            raise InvalidDefinition(
                f"{self._what}: '{function.__name__}' is not a plain function", hint="write def"
            )
        node.decorator_list = []
        plain = _Plain().visit(node)
        assert isinstance(plain, ast.FunctionDef)
        return plain

    def _value(self, name: str, value: Any, function: FunctionType, node: ast.AST) -> None:
        if name in self._values:
            if self._values[name] is not value:
                raise self._refused(function, node, f"reaches two things called '{name}'", "rename one")
            return
        self._values[name] = value
        if isinstance(value, ModuleType):
            if not _installed(value):
                raise self._refused(
                    function,
                    node,
                    f"uses the module '{value.__name__}' of the project",
                    "import the function itself",
                )
            self._imports[name] = _import_of(value, name)
            return
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        label = getattr(value, "__name__", "")
        if module is not None and _installed(module) and label and getattr(module, label, None) is value:
            self._imports[name] = f"from {module.__name__} import {label}" + (
                f" as {name}" if label != name else ""
            )
        elif isinstance(value, FunctionType) and value.__name__ == name:
            self.function(value)
        elif (literal := _literal(value)) is not None:
            self._constants[name] = f"{name} = {literal}"
        else:
            raise self._refused(
                function,
                node,
                f"uses '{name}', a {type(value).__name__} that cannot be recorded",
                "a constant is made of numbers, text, lists and dicts; what is larger comes from a dataset",
            )

    def _refused(self, function: FunctionType, node: ast.AST, why: str, hint: str) -> InvalidDefinition:
        place = f"{function.__code__.co_filename}, line {function.__code__.co_firstlineno}"
        return InvalidDefinition(f"{place}: {self._what}: '{function.__name__}' {why}", hint=hint)


class _Plain(ast.NodeTransformer):
    """Leaves out what does not change what a function does: annotations and docstrings."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        plain = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
        return ast.copy_location(plain, node)


def _outer_names(node: ast.FunctionDef) -> list[str]:
    """Names a function looks up outside itself, as the compiler sees them, in a fixed order."""
    code = compile(ast.unparse(node), "<names>", "exec")
    found: dict[str, None] = {}
    waiting = [each for each in code.co_consts if hasattr(each, "co_names")]
    # Defaults of arguments are evaluated outside the function.
    for default in [*node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)]:
        found |= {each.id: None for each in ast.walk(default) if isinstance(each, ast.Name)}
    while waiting:
        inner = waiting.pop()
        globals_ = {
            each.argval for each in _instructions(inner) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        }
        found |= dict.fromkeys(sorted(globals_))
        waiting += [each for each in inner.co_consts if hasattr(each, "co_names")]
    return list(found)


def _instructions(code: Any) -> Any:
    import dis

    return dis.get_instructions(code)


def _installed(module: ModuleType) -> bool:
    """Whether a module comes with Python or a package, and so is there wherever the environment is."""
    if module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return True
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ in sys.builtin_module_names
    path = str(Path(file).resolve())
    return path.startswith(_OWN) or path.startswith(_LIBRARIES)


def _import_of(module: ModuleType, name: str) -> str:
    return f"import {module.__name__}" + ("" if module.__name__ == name else f" as {name}")


def _literal(value: Any) -> str | None:
    """A constant as Python text, None when it is not one.

    >>> _literal({"a": [1, 2.5, (None, True)]}), _literal(float("inf")), _literal(object())
    ("{'a': [1, 2.5, (None, True)]}", "float('inf')", None)
    """
    if value is None or isinstance(value, bool | int | str | bytes):
        return repr(value) if type(value) in (type(None), bool, int, str, bytes) else None
    if type(value) is float:
        return repr(value) if math.isfinite(value) else f"float('{value}')"
    if type(value) in (list, tuple, set):
        parts = [_literal(each) for each in (sorted(value, key=repr) if type(value) is set else value)]
        if any(part is None for part in parts):
            return None
        listed = ", ".join(str(part) for part in parts)
        if type(value) is list:
            return f"[{listed}]"
        if type(value) is tuple:
            return f"({listed}{',' if len(parts) == 1 else ''})"
        return f"{{{listed}}}" if parts else "set()"
    if type(value) is dict:
        pairs = [(_literal(key), _literal(each)) for key, each in value.items()]
        if any(key is None or each is None for key, each in pairs):
            return None
        return "{" + ", ".join(f"{key}: {each}" for key, each in pairs) + "}"
    return None
