"""Templates call only what there is: a name that nobody gives shows on the one page, and in the one case, that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import pytest
from flask import Flask
from jinja2 import ChoiceLoader, DictLoader, Environment, meta, nodes

OF_JINJA = {"caller", "loop", "self", "super"}


class Templates:
    """Of an app: core and plugins."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.names = frozenset(env.list_templates())
        self._parsed: dict[str, Parsed] = {}

    def __getitem__(self, name: str) -> Parsed:
        if name not in self._parsed:
            assert self.env.loader is not None
            self._parsed[name] = Parsed(self, name, self.env.parse(self.env.loader.get_source(self.env, name)[0], name))
        return self._parsed[name]


class Parsed:
    """One template: what it exports, and what is wrong with what it calls."""

    def __init__(self, all_of_them: Templates, name: str, tree: nodes.Template) -> None:
        self.all, self.env, self.name, self.tree = all_of_them, all_of_them.env, name, tree
        self.macros = {macro.name: macro for macro in tree.find_all(nodes.Macro)}
        imports = [node for node in tree.find_all(nodes.Import) if isinstance(node.template, nodes.Const)]
        self.imports: dict[str, str] = {node.target: node.template.value for node in imports}

    @cached_property
    def exports(self) -> set[str]:
        bound = {name.name for name in self.tree.find_all(nodes.Name) if name.ctx == "store"}
        return {*self.macros, *self.imports, *bound}

    @cached_property
    def _at_the_top(self) -> set[str]:
        """What blocks find in their context, though Jinja calls it undeclared there."""
        made = (node for node in self.tree.body if isinstance(node, nodes.Macro | nodes.Assign))
        return {node.name if isinstance(node, nodes.Macro) else getattr(node.target, "name", "") for node in made}

    def wrong(self) -> list[str]:
        """Jinja itself refuses to look further where a filter is unknown."""
        return sorted({*self._unknown_filters()} or {*self._unknown_calls(), *self._wrong_parts(), *self._unknown_templates()})

    def _unknown_filters(self) -> Iterator[str]:
        yield from (f"no filter {one.name}" for one in self.tree.find_all(nodes.Filter) if one.name not in self.env.filters)
        yield from (f"no test {one.name}" for one in self.tree.find_all(nodes.Test) if one.name not in self.env.tests)

    @property
    def _of_includers(self) -> set[str]:
        """What a part finds because every template that includes it makes it."""
        includers = [one.exports for one in map(self.all.__getitem__, self.all.names) if self.name in one.includes]
        return set.intersection(*includers) if includers else set()

    @cached_property
    def includes(self) -> set[str]:
        found = self.tree.find_all(nodes.Include)
        return {node.template.value for node in found if isinstance(node.template, nodes.Const)}

    def _unknown_calls(self) -> Iterator[str]:
        unbound = meta.find_undeclared_variables(self.tree) - OF_JINJA - self.env.globals.keys() - self._at_the_top
        unbound -= self._of_includers
        for call in self.tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name in unbound:
                yield f"nobody gives {call.node.name}()"

    def _wrong_parts(self) -> Iterator[str]:
        """Of templates that are imported under a name: `ui.icon`."""
        for node in self.tree.find_all(nodes.Getattr):
            other = self._imported(node)
            if other is not None and node.attr not in other.exports:
                yield f"no {node.attr} in {other.name}"
        for call in self.tree.find_all(nodes.Call):
            if macro := self._macro(call.node):
                yield from self._wrong_arguments(macro, call)

    def _imported(self, node: nodes.Node) -> Parsed | None:
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name in self.imports:
            return self.all[self.imports[node.node.name]]
        return None

    def _macro(self, node: nodes.Node) -> nodes.Macro | None:
        if isinstance(node, nodes.Name):
            return self.macros.get(node.name)
        other = self._imported(node)
        return other.macros.get(node.attr) if other is not None and isinstance(node, nodes.Getattr) else None

    def _wrong_arguments(self, macro: nodes.Macro, call: nodes.Call) -> Iterator[str]:
        known, used = {argument.name for argument in macro.args}, {name.name for name in macro.find_all(nodes.Name)}
        if "kwargs" not in used:
            yield from (f"{macro.name} takes no {given.key}" for given in call.kwargs if given.key not in known)
        if "varargs" not in used and len(call.args) > len(known):
            yield f"{macro.name} takes {len(known)} arguments at most"

    def _unknown_templates(self) -> Iterator[str]:
        named = meta.find_referenced_templates(self.tree)
        yield from (f"no template {name}" for name in named if name is not None and name not in self.all.names)


def test_templates_call_only_what_there_is(portal_app: Flask) -> None:
    templates = Templates(portal_app.jinja_env)
    assert {"_macros.html", "policies/_parts.html"} <= templates.names
    assert {name: found for name in sorted(templates.names) if (found := templates[name].wrong())} == {}


UI = '{% import "_macros.html" as ui %}'


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ frobnicate(1) }}", "nobody gives frobnicate()"), ("{{ 1|frobnicate }}", "no filter frobnicate"),
        ("{{ 1 is frobnicate }}", "no test frobnicate"), (UI + "{{ ui.frobnicate() }}", "no frobnicate in _macros.html"),
        (UI + '{{ ui.icon("x") }}{{ ui.progress(1, "a", colour="red") }}', "progress takes no colour"),
        (UI + "{{ ui.tr(1, 2) }}", "tr takes 1 arguments at most"),
        ('{% include "frobnicate.html" %}', "no template frobnicate.html"),
    ],
)  # fmt: skip
def test_a_name_that_nobody_gives_is_found(portal_app: Flask, source: str, said: str) -> None:
    env = portal_app.jinja_env
    assert env.loader is not None
    templates = Templates(env.overlay(loader=ChoiceLoader([DictLoader({"new.html": source}), env.loader])))
    assert templates["new.html"].wrong() == [said]
