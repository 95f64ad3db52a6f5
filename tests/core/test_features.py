"""Declarations of features: what they name exists, and nothing else lists features."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import clawportal
from clawportal import declarations, pluginmanager
from clawportal.contracts.features import Feature, Job

ROOT = Path(clawportal.__file__).parent
FEATURES = pluginmanager.load(pluginmanager.BUNDLED).features
TARGETS = [(feature.name, field, target) for feature in FEATURES for field, target in declarations.targets(feature)]
MODULES = [(feature.name, field, name) for feature in FEATURES for field, name in declarations.modules(feature)]
FEW = 3
"""Features that one module may know; one that knows more is a list of them."""
MAY = {
    "clawportal/features.py": "the list of the core's own",
    "clawportal/models/__init__.py": "the tables of the core by name, for those who query several",
}


@pytest.mark.parametrize(("feature", "field", "target"), TARGETS, ids=lambda value: str(value))
def test_every_target_is_there(feature: str, field: str, target: str) -> None:
    assert callable(declarations.resolve(target)), f"{feature}: {field}"


@pytest.mark.parametrize(("feature", "field", "name"), MODULES, ids=lambda value: str(value))
def test_every_module_brings_what_it_is_named_for(feature: str, field: str, name: str) -> None:
    module = importlib.import_module(name)
    mark = {"api": "clawportal_operations", "pages": "clawportal_pages"}.get(field)
    if mark:
        assert list(declarations.marked(name, mark)), f"{name} has nothing that a feature could collect"
    elif field == "sockets":
        assert callable(module.init_sockets)
    else:
        assert any(hasattr(value, "__tablename__") for value in vars(module).values())


def owners() -> dict[str, str]:
    """Which feature each module belongs to."""
    of_targets = {target.partition(":")[0]: feature for feature, _, target in TARGETS}
    return of_targets | {name: feature for feature, _, name in MODULES}


def files() -> Iterator[Path]:
    return (file for file in sorted(ROOT.rglob("*.py")) if str(file.relative_to(ROOT.parent)) not in MAY)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def listed(tree: ast.AST) -> Iterator[set[str]]:
    """Constants that stand beside each other in a list, tuple, set or dictionary."""
    for node in ast.walk(tree):
        parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", ())
        yield {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


WAYS_IN = ("clawportal.api.", "clawportal.web.", "clawportal.realtime.", "clawportal.jobs.", "clawportal.cli.")


def lists_features(tree: ast.AST, names: set[str], known: dict[str, str]) -> set[str]:
    by_import = {known[name] for name in imported(tree) if name in known and name.startswith(WAYS_IN)}
    by_name = max((found & names for found in listed(tree)), key=len, default=set())
    return max(by_import, by_name, key=len)


def test_no_module_lists_features() -> None:
    names, known = {feature.name for feature in FEATURES}, owners()
    found = {
        str(file.relative_to(ROOT.parent)): sorted(told)
        for file in files()
        if len(told := lists_features(ast.parse(file.read_text()), names, known)) > FEW
    }
    assert found == {}


def test_a_list_of_features_would_be_found() -> None:
    names, known = {feature.name for feature in FEATURES}, owners()
    by_import = "from clawportal.web import audit, clusters, operations, instances, tenants"
    assert len(lists_features(ast.parse(by_import), names, known)) == 5
    assert len(lists_features(ast.parse('X = {"audit": 1, "clusters": 2, "events": 3, "policies": 4}'), names, known)) == 4


def test_a_declaration_says_everything_about_its_names() -> None:
    """No two features bring the same tab, job, tag or module."""
    for take in (
        lambda one: [tab.name for tab in one.instance_tabs],
        lambda one: [tag.name for tag in one.api_tags],
        lambda one: [name for _, name in declarations.modules(one)],
        lambda one: [link.endpoint for link in one.nav],
    ):
        every = [name for feature in FEATURES for name in take(feature)]
        assert len(every) == len(set(every))


def test_features_are_data() -> None:
    assert all(isinstance(feature, Feature) and declarations.check(feature) is feature for feature in FEATURES)


def brought(feature: Feature) -> Iterator[str]:
    """What a feature of a plugin adds by name, as far as no other word of the language is spelt like it."""
    yield feature.package
    yield from map(str, feature.permissions)
    for parts in (feature.events, feature.metrics, feature.instance_facts):
        yield from (part.name for part in parts)
    yield from (one.table for one in feature.resources if "_" in one.table)
    for module in feature.pages:
        yield from (f"web.{page.endpoint}" for page in declarations.marked(module, "clawportal_pages"))
    for module in feature.api:
        yield from (f"api.{operation.name}" for operation in declarations.marked(module, "clawportal_operations"))


def naming(text: str, names: set[str]) -> set[str]:
    """Those of the names that stand in a text, each as a whole, or begin the path of a module."""
    words = set(re.findall(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*", text))
    return names & (words | {word.partition(".")[0] for word in words if word.startswith("clawportal_")})


def of_the_core() -> Iterator[tuple[str, str]]:
    """What the core says: texts in its code, its templates and its scripts."""
    for file in sorted(ROOT.rglob("*.py")):
        if "testing" not in file.parts:
            texts = (node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant))
            yield str(file.relative_to(ROOT.parent)), "\n".join(text for text in texts if isinstance(text, str))
    for folder, kind in (("templates", "*.html"), ("static", "*.js")):
        for file in sorted((ROOT.parent / folder).rglob(kind)):
            if "vendor" not in file.parts:
                yield str(file.relative_to(ROOT.parent)), file.read_text()


def test_the_core_names_nothing_that_a_plugin_brings() -> None:
    """No right, page, operation, table, event or package of a plugin: its folder alone says that it is there."""
    names = {name for feature in FEATURES if feature.package for name in brought(feature)}
    assert len(names) > 50
    found = {file: sorted(told) for file, text in of_the_core() if (told := naming(text, names))}
    assert found.pop("clawportal/pluginnames.py"), "which plugins come along is said there alone"
    assert found == {}


def test_a_name_of_a_plugin_in_the_core_would_be_found() -> None:
    assert naming("see url_for('web.policies') and web.policies_old", {"web.policies"}) == {"web.policies"}
    assert naming("clawportal_policies.services:admit, xweb.policies", {"web.policies", "clawportal_policies"}) == {
        "clawportal_policies"
    }


@pytest.mark.parametrize("text", ["raise RuntimeError('no luck')", "1 / 0", "x = y", "import nothing_of_that_name"])
def test_a_module_that_fails_in_any_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "failing_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(declarations.Broken, match="failing_module:run cannot be"):
        declarations.resolve("failing_module:run")


def test_a_job_at_the_pace_of_no_setting_is_refused() -> None:
    declarations.check(Feature("notes", "Notes", jobs=(Job("a", "a.b:c", every="resync_seconds"),)))
    with pytest.raises(declarations.Broken, match="'resync_secs', which is no setting"):
        declarations.check(Feature("notes", "Notes", jobs=(Job("a", "a.b:c", every="resync_secs"),)))


def test_tabs_of_organisations_lead_to_pages_too() -> None:
    assert {"nav", "instance_tabs", "tenant_tabs"} == set(declarations.ENDPOINTS)
