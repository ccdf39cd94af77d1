"""Looks through a .pt2 file before PyTorch reads it, which trusts what it reads.

Its reader falls back on pickles, evaluates symbolic shapes as Python, and looks
operators up by any name under ``torch``; a file of a stranger may use each to run code.
"""

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bdjax.types import UserError

_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|quantized|quantized_decomposed)"
    r"\.(?!(?:from_file|save)\b)(_?[a-zA-Z0-9]\w*|__i?(and|or|xor|lshift|rshift)__)"
    r"\.(_?[a-zA-Z0-9]\w*)"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|and_|or_|xor|not_"
    r"|invert|eq|ne|lt|le|gt|ge|getitem|lshift|rshift)"
    r"|math\.(ceil|floor|trunc|sqrt|pow|log|exp)|torch\.sym_(\w+)|torch\._sym_(\w+)"
)
# Of torch's own names for what shapes are computed by, and sympy's.
_FUNCTIONS = {
    *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv"),
    *("CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural"),
    *("FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt"),
    *("IsNonOverlappingAndDenseIndicator", "RoundToInt", "RoundDecimal", "ToFloat"),
    *("Identity", "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow"),
    *("Max", "Min", "And", "Or", "Not", "Equality", "Unequality", "LessThan"),
    *("GreaterThan", "StrictLessThan", "StrictGreaterThan", "floor", "ceiling"),
    *("Abs", "IntInfinity", "NegativeIntInfinity", "BooleanTrue", "BooleanFalse"),
}
_NODES = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Constant),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Name, ast.Load, ast.Call),
    ast.keyword,
)


def screen(path: Path) -> None:
    """Refuses a .pt2 file that would do more than compute.

    Raises:
      UserError: it is damaged, or holds pickles, compiled code, expressions or
        operators beyond PyTorch's own.
    """
    from torch.export.pt2_archive import PT2ArchiveReader

    try:
        # The very reader that is used afterwards: zip files can be read in two ways.
        with path.open("rb") as file, PT2ArchiveReader(file) as archive:
            contents = {
                name: archive.read_bytes(name)
                for name in archive.get_file_names()
                if name.endswith((".json", ".pt"))
                or name.startswith("models/")  # which are read whatever their ending
                or "aotinductor" in name
            }
        found = next(_dangers(contents), None)
    except (RuntimeError, ValueError, TypeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read as a .pt2 file: {said}") from error
    if found:
        raise UserError(
            f"{path} holds {found}, which is not read from a file; export plain "
            "PyTorch: torch.export.save(torch.export.export(model.eval(), (x,)), path)"
        )


def _dangers(contents: dict[str, bytes]) -> Iterator[str]:
    for name, data in contents.items():
        if "aotinductor" in name:
            yield "compiled code"
        elif name.endswith(".pt") and not name.startswith("models/"):
            if not _is_plain(data):
                yield f"pickled objects ({name})"
        else:
            for part in _dicts(json.loads(data)):
                yield from _in_json(part)


def _is_plain(data: bytes) -> bool:
    import torch

    try:
        if data:
            torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception:  # what it raises depends on what is in there
        return False
    return True


def _dicts(tree: Any) -> Iterator[dict]:
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(part, dict | list):
            yield from _dicts(part)


def _in_json(part: dict) -> Iterator[str]:
    path_name = str(part.get("path_name", ""))
    if part.get("use_pickle") or path_name.startswith(("custom_obj", "opaque_obj")):
        yield f"pickled objects ({path_name})"
    for target in (part.get("target"), part.get("as_operator")):
        if isinstance(target, str) and not _OPERATOR.fullmatch(target):
            yield f"the operator {target}"
    expression = part.get("expr_str")
    if expression is not None and not _is_arithmetic(str(expression)):
        yield f"the expression {expression[:60]}"
    for spec in (str(part.get("in_spec")), str(part.get("out_spec"))):
        if "default_factory_module" in spec or "__enum__" in spec:
            yield "containers of classes"


def _is_arithmetic(expression: str) -> bool:
    """Whether it is built of numbers, symbols and functions of shapes alone."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError):
        return False
    return all(map(_is_harmless, ast.walk(tree)))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # Sympy evaluates strings: a symbol's name and a number's digits do no harm.
        return bool(re.fullmatch(r"[a-zA-Z]\w*|[-+]?[0-9.]+(e[-+]?\d+)?", node.value))
    return isinstance(node, _NODES)
