"""Which names a piece of code takes from its module, and which names the statements of a module bind."""

import ast
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from modelcollapse.code_digests.syntax import DefinitionNode, Imported, dotted, imported

Chain = tuple[str, ...]
"""A name and the attributes taken of it: ``("numpy", "random", "normal")``."""

_Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class References(NamedTuple):
    """What some code takes from outside itself."""

    chains: set[Chain]
    imports: list[Imported]
    """The names bound by imports inside functions and classes; ``chains`` holds their uses too."""

    @classmethod
    def of(cls, nodes: Iterable[ast.AST]) -> "References":
        """The names that the code takes from its module, each with the attributes that it takes of it."""
        collector = _Collector()
        for node in nodes:
            collector.visit(node)
        return cls(collector.chains, collector.imports)


def bound_names(statement: ast.stmt) -> set[str]:
    """The names of a module that a statement binds, other than by importing."""
    return set().union(*map(_bound_by, _own_nodes([statement])))


def changed_names(statement: ast.stmt) -> set[str]:
    """The names of a module that a statement may change without binding them.

    They are those whose attribute or item is assigned, and those in a call whose result nothing takes:
    ``TABLE.update(...)``, ``random.shuffle(ORDER)``.
    """
    names: set[str] = set()
    for node in _own_nodes([statement]):
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            names |= {root.id for root in [_root(node)] if isinstance(root, ast.Name)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


def called_root(statement: ast.stmt) -> str:
    """``a`` for the statement ``a.b(...)``, the empty text for other statements."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return dotted(statement.value.func).partition(".")[0]
    return ""


def module_imports(statement: ast.stmt) -> list[Imported]:
    """What a statement of a module imports, in blocks too but not inside functions and classes."""
    return [
        each
        for node in _own_nodes([statement])
        if isinstance(node, ast.Import | ast.ImportFrom)
        for each in imported(node)
    ]


class _Scope(NamedTuple):
    names: set[str]
    is_class: bool = False


class _Collector(ast.NodeVisitor):
    """Follows Python's scopes: a name is taken from the module unless a function around it binds it."""

    def __init__(self) -> None:
        self.chains: set[Chain] = set()
        self.imports: list[Imported] = []
        self._scopes: list[_Scope] = []

    def visit_Name(self, node: ast.Name) -> None:
        # Assigned names count for the sake of `global`; those of functions are found in their scope.
        if isinstance(node.ctx, ast.Load) or (self._scopes and not self._scopes[-1].is_class):
            self._take((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if name := dotted(node):
            self._take(tuple(name.split(".")))
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: Any) -> None:
        self._visit_all(node.decorator_list)
        depth = self._enter_parameters(node)
        self._visit_all([node.args, node.returns, *getattr(node, "type_params", [])])
        self._scopes.append(_Scope(_local_names(node.args, node.body)))
        self._visit_all(node.body)
        del self._scopes[depth:]

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._scopes.append(_Scope(_local_names(node.args, [node.body])))
        self.visit(node.body)
        self._scopes.pop()

    def visit_ClassDef(self, node: Any) -> None:
        self._visit_all(node.decorator_list)
        depth = self._enter_parameters(node)
        self._visit_all([*node.bases, *node.keywords, *getattr(node, "type_params", [])])
        scope = _Scope(set(), is_class=True)
        self._scopes.append(scope)
        for statement in node.body:
            self.visit(statement)
            # A name that a block binds may still be the module's, as before the statement that binds it.
            if isinstance(statement, (*DefinitionNode, ast.Assign, ast.AnnAssign)):
                scope.names.update(*map(_bound_by, _own_nodes([statement])))
        del self._scopes[depth:]

    def visit_TypeAlias(self, node: Any) -> None:
        depth = self._enter_parameters(node)
        self._visit_all([*node.type_params, node.value])
        del self._scopes[depth:]

    def _enter_parameters(self, node: Any) -> int:
        """Open a scope for the type parameters that Python 3.12 has, and return how many scopes were open."""
        depth = len(self._scopes)
        # None without them: it would hide the names of a class from the defaults of its methods.
        if parameters := getattr(node, "type_params", []):
            self._scopes.append(_Scope({parameter.name for parameter in parameters}))
        return depth

    def _visit_comprehension(self, node: Any) -> None:
        # The first iterable is evaluated outside.
        self.visit(node.generators[0].iter)
        targets = [generator.target for generator in node.generators]
        self._scopes.append(_Scope(set().union(*map(_bound_by, _own_nodes(targets)))))
        for generator in node.generators:
            self._visit_all([generator.target, *generator.ifs])
        self._visit_all([generator.iter for generator in node.generators[1:]])
        self._visit_all([getattr(node, field, None) for field in ("elt", "key", "value")])
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension  # noqa: N815

    def visit_Import(self, node: ast.Import) -> None:
        if self._scopes:
            self.imports += imported(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if self._scopes:
            self.imports += imported(node)

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _take(self, chain: Chain) -> None:
        innermost = len(self._scopes) - 1
        for place, scope in enumerate(self._scopes):
            if chain[0] in scope.names and (place == innermost or not scope.is_class):
                return
        self.chains.add(chain)


def _local_names(arguments: ast.arguments, body: Iterable[ast.AST]) -> set[str]:
    """The names that a function binds. Those that it imports are left to be followed like names of the module."""
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    names = {argument.arg for argument in named if argument is not None}
    elsewhere: set[str] = set()
    for node in _own_nodes(body):
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            elsewhere.update(each.bound for each in imported(node))
        else:
            names |= _bound_by(node)
    return names - elsewhere


def _bound_by(node: ast.AST) -> set[str]:
    """The name that a node binds by itself."""
    if isinstance(node, ast.Name):
        return set() if isinstance(node.ctx, ast.Load) else {node.id}
    name: str | None = None
    if isinstance(node, (*DefinitionNode, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        name = node.name
    elif isinstance(node, ast.MatchMapping):
        name = node.rest
    return {name} if name else set()


def _own_nodes(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes that bind names in the scope of ``nodes``: those inside functions, classes and lambdas do not."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, _Comprehension):
            # Of what a comprehension holds, only assignment expressions bind names around it.
            pending += [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
        elif isinstance(node, DefinitionNode):
            pending += [*node.decorator_list, *(_outer_expressions(node))]
        elif isinstance(node, ast.Lambda):
            pending += _defaults(node.args)
        else:
            pending += ast.iter_child_nodes(node)


def _outer_expressions(node: Any) -> list[ast.expr]:
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *(keyword.value for keyword in node.keywords)]
    return _defaults(node.args)


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [default for default in (*arguments.defaults, *arguments.kw_defaults) if default is not None]


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node
