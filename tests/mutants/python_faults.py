"""Faults in Python: mutmut's operators, and those that it has not: a call, a check or a refusal
dropped, another lifetime.

Of mutmut only the operators are used. Its runner turns every function into a switch between its
mutants: that leaves out what is decorated (each view), and changes what our tests count and show
(Python calls, listings); and it knows no Lua.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

LOGGED = m.Call(
    func=m.Attribute(
        value=m.Name("logger") | m.Name("log") | m.Attribute(attr=m.Name("logger")),
        attr=m.OneOf(*map(m.Name, ("debug", "info", "warning", "error", "exception"))),
    )
)
NAMED = m.OneOf(*map(m.Name, ("len", "isinstance", "cast", "TypeVar", "getLogger", "NewType")))
TYPES = m.Call(func=NAMED | m.Attribute(attr=NAMED))
# What a type checker reads, what a reader reads, and what ends the import of half the tests.
NOT_TOUCHED = (
    m.Annotation()
    | m.Decorator()
    | m.Import()
    | m.ImportFrom()
    | m.Assert()
    | m.If(test=m.Name("TYPE_CHECKING"))
    | m.Arg(keyword=m.Name("strict"))
    | LOGGED
    | TYPES
)


def _dropped_call(node: cst.Expr) -> Iterator[cst.Pass]:
    if isinstance(node.value, cst.Call | cst.Await):
        yield cst.Pass()


def _arg_removal(node: cst.Call) -> Iterator[cst.Call]:
    """All but `strict` of a zip, which states what cannot be otherwise."""
    strict = [arg for arg in node.args if m.matches(arg, m.Arg(keyword=m.Name("strict")))]
    for made in mutators.operator_arg_removal(node):
        if all(any(arg is kept for kept in made.args) for arg in strict):
            yield made


def _dropped_raise(node: cst.Raise) -> Iterator[cst.Pass]:
    yield cst.Pass()


def _negated(node: cst.If) -> Iterator[cst.If]:
    inside = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(
        test=cst.UnaryOperation(cst.Not(), inside), whitespace_before_test=cst.SimpleWhitespace(" ")
    )


def _returned_nothing(node: cst.Return) -> Iterator[cst.Return]:
    if node.value and not m.matches(node.value, m.Name("None")):
        yield node.with_changes(value=cst.Name("None"), whitespace_after_return=_SPACE)


def _lifetime(node: cst.Call) -> Iterator[cst.Call]:
    """Half and twice of what is given as an expiry."""
    by_name = {"expire": 1, "pexpire": 1, "setex": 1, "psetex": 1}
    name = node.func.attr.value if isinstance(node.func, cst.Attribute) else ""
    for at, arg in enumerate(node.args):
        if arg.keyword is None:
            told = by_name.get(name) == at
        else:
            told = arg.keyword.value in ("ex", "px")
        if told:
            inside = arg.value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
            for operator in (cst.FloorDivide(), cst.Multiply()):
                value = cst.BinaryOperation(inside, operator, cst.Integer("2"))
                args = [*node.args[:at], arg.with_changes(value=value), *node.args[at + 1 :]]
                yield node.with_changes(args=args)


def _string(node: cst.BaseString) -> Iterator[cst.BaseString]:
    """Words: not a text, which says the same in other words too."""
    if isinstance(node, cst.SimpleString) and not set(" \n") & set(node.raw_value):
        yield from list(mutators.operator_string(node))[:1]


_SPACE = cst.SimpleWhitespace(" ")
REPLACED = (mutators.operator_string, mutators.operator_arg_removal)
OPERATORS: Sequence[tuple[type, Callable[[Any], Any]]] = [
    *(each for each in mutators.mutation_operators if each[1] not in REPLACED),
    (cst.BaseString, _string),
    (cst.Call, _arg_removal),
    (cst.Expr, _dropped_call),
    (cst.Raise, _dropped_raise),
    (cst.If, _negated),
    (cst.Return, _returned_nothing),
    (cst.Call, _lifetime),
]


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str, cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if m.matches(node, NOT_TOUCHED):
            return False
        where = self.get_metadata(PositionProvider, node, None)
        for kind, operator in OPERATORS:
            if where and isinstance(node, kind):
                name = operator.__name__.removeprefix("operator").strip("_")
                self.found += [(where.start.line, name, node, made) for made in operator(node)]
        return not isinstance(node, cst.Raise)  # what it says is a text


def faults(source: str) -> list[tuple[int, str, Callable[[], str]]]:
    """Line, kind and maker of every fault."""
    wrapper, finder = MetadataWrapper(cst.parse_module(source)), _Finder()
    wrapper.visit(finder)
    return [
        (line, kind, partial(_edited, wrapper.module, node, made))
        for line, kind, node, made in finder.found
    ]


def _edited(module: cst.Module, node: cst.CSTNode, made: cst.CSTNode) -> str:
    changed = module.deep_replace(node, made)
    assert isinstance(changed, cst.Module)
    return changed.code
