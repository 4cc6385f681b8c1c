"""Every hint that syncd can give, read off its code; what varies is `…`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "syncd"


class Hints:
    """All of the package: strings given to a parameter or field named `hint`, by keyword, place or default."""

    def __init__(self) -> None:
        paths = [path for path in sorted(PACKAGE.rglob("*.py")) if "sandbox" not in path.parts]
        self._files = [list(ast.walk(ast.parse(path.read_text()))) for path in paths]
        self._assigned: list[dict[str, list[ast.expr]]] = [{} for _ in self._files]
        self._returned: dict[str, list[ast.expr]] = {}
        self._place: dict[str, int] = {}  # of `hint` among the arguments of a function or the fields of a class
        for nodes, assigned in zip(self._files, self._assigned, strict=True):
            for node in nodes:
                self._note(node, assigned)

    def _note(self, node: ast.AST, assigned: dict[str, list[ast.expr]]) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                assigned.setdefault(name, []).append(value)
            case ast.FunctionDef(name=name, args=ast.arguments(args=[*given])):
                names = [each.arg for each in given if each.arg not in ("self", "cls")]
                self._returned.setdefault(name, []).extend(
                    each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value
                )
                if "hint" in names:
                    self._place[name] = names.index("hint")
            case ast.ClassDef(name=name, body=[*body]):
                fields = [each.target.id for each in body if isinstance(each, ast.AnnAssign)]
                if "hint" in fields:
                    self._place[name] = fields.index("hint")

    def __iter__(self) -> Iterator[str]:
        for nodes, assigned in zip(self._files, self._assigned, strict=True):
            for node in nodes:
                for given in self._given(node):
                    yield from filter(None, self._texts(given, assigned))

    def _given(self, node: ast.AST) -> Iterator[ast.expr]:
        """What stands for a hint in a call or a definition."""
        match node:
            case ast.Call(func=func, args=args, keywords=keywords):
                yield from (each.value for each in keywords if each.arg == "hint")
                name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
                yield from args[self._place.get(name, len(args)) :][:1]
            case ast.FunctionDef(args=arguments):
                both = [*zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
                both += zip(reversed(arguments.args), reversed(arguments.defaults), strict=False)
                yield from (default for each, default in both if each.arg == "hint" and default)

    def _texts(self, node: ast.expr, assigned: dict[str, list[ast.expr]]) -> list[str]:
        """The strings that an expression may come to."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=[*values]):
                each = [[v.value] if isinstance(v, ast.Constant) else self._inside(v, assigned) for v in values]
                return ["".join(map(str, chosen)) for chosen in product(*each)]
            case ast.IfExp(body=one, orelse=other):
                return self._texts(one, assigned) + self._texts(other, assigned)
            case ast.BoolOp(values=[*values]):
                return [text for value in values for text in self._texts(value, assigned)]
            case ast.BinOp(left=one, op=ast.Add(), right=other):
                return [a + b for a, b in product(self._texts(one, assigned), self._texts(other, assigned))]
            case ast.Dict(values=[*values]):
                return [text for value in values for text in self._texts(value, assigned)]
            case ast.Name(id=name):
                everywhere = (
                    [value for each in self._assigned for value in each.get(name, ())] if name.isupper() else []
                )
                return [text for value in assigned.get(name, everywhere) for text in self._texts(value, assigned)]
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=args) if name.isupper():
                everywhere = [value for each in self._assigned for value in each.get(name, ())]
                return [text for value in [*everywhere, *args[1:]] for text in self._texts(value, assigned)]
            case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
                return [text for value in self._returned.get(name, ()) for text in self._texts(value, assigned)]
        return []

    def _inside(self, node: ast.expr, assigned: dict[str, list[ast.expr]]) -> list[str]:
        """What stands between braces: words of ours that a call or a name brings, else …"""
        inner = node.value if isinstance(node, ast.FormattedValue) else node
        known = self._texts(inner, assigned) if isinstance(inner, ast.Call) else []
        return known or ["…"]
