"""The dashboard and the alert rules ask for numbers that a running proxy shows, and mean them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.tools import CHART, DEPLOY, Tools
from tests.origin import Content, OriginThread
from tests.running import process

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
README = (DEPLOY.parent / "README.md").read_text("utf-8")

_NAME = re.compile(r"\b(?:cgr_proxy|process)_\w+")
_SELECTED = re.compile(r"\b((?:cgr_proxy|process)_\w+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
_BY = re.compile(r"\bby\s*\(([^)]*)\)")
# What Prometheus itself adds, and `le` of a histogram's buckets.
_ADDED = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every series of a proxy that has answered something, with workers and without: name and
    labels."""
    found: dict[str, set[str]] = {}
    for workers in (1, 2):
        folder, server = tmp_path_factory.mktemp("shown"), {"workers": workers}
        with (
            OriginThread(content=Content.tiny()) as origin,
            process(folder, origin, {"server": server}) as proxy,
        ):
            assert proxy.get("/python/simple/alpha/").status == 200
            text = proxy.get("/metrics", url=proxy.admin_url).body.decode()
        # A gauge may have no value yet: the platform that was never asked has no age.
        for name in re.findall(r"^# TYPE (\w+) gauge", text, re.MULTILINE):
            found.setdefault(name, set())
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, labels = line.rpartition(" ")[0].partition("{")
                found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        yield panel
        yield from panel.get("panels", [])


def questions(tools: Tools) -> dict[str, str]:
    """Every expression, by where it stands."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel.get("targets", [])
    }
    (rules,) = tools.yaml(ALERTS)
    for group in rules["groups"]:
        found |= {rule["alert"]: rule["expr"] for rule in group["rules"]}
    return found


def test_every_number_that_is_asked_for_is_shown_with_those_labels(
    shown: dict[str, set[str]], tools: Tools
) -> None:
    asked = questions(tools)
    wrong = [
        (where, name)
        for where, expression in asked.items()
        for name in _NAME.findall(expression)
        if name not in shown
    ]
    wrong += [
        (where, f"{name} by {label}")
        for where, expression in asked.items()
        for name, matchers in _SELECTED.findall(expression)
        for label in _MATCHER.findall(matchers)
        if name in shown and label not in shown[name] | _ADDED
    ]
    for where, expression in asked.items():
        had = set().union(*(shown.get(name, set()) for name in _NAME.findall(expression)))
        for labels in _BY.findall(expression):
            wrong += [
                (where, label.strip())
                for label in labels.split(",")
                if label.strip() not in had | _ADDED
            ]

    assert wrong == []
    assert len(asked) > 30


def test_every_number_of_the_readme_is_shown(shown: dict[str, set[str]]) -> None:
    named = set(re.findall(r"\bcgr_proxy_\w+\b", README))
    # A histogram is told of by the name of the whole.
    wholes = {name.removesuffix("_bucket") for name in shown if name.endswith("_bucket")}

    assert named - set(shown) - wholes == set()


def test_prometheus_takes_the_rules(tools: Tools) -> None:
    done = tools.run("promtool", "check", "rules", ALERTS)

    assert done.code == 0, done.output


def test_prometheus_takes_its_configuration(tools: Tools, tmp_path: Path) -> None:
    text = (DEPLOY / "compose" / "prometheus.yml").read_text("utf-8")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/rules/*.yaml", str(ALERTS)), encoding="utf-8")

    done = tools.run("promtool", "check", "config", file)

    assert done.code == 0, done.output
    assert "1 rule files found" in done.output


def test_the_alerts_come_when_they_are_meant_to_and_not_otherwise(tools: Tools) -> None:
    """Prometheus' own rule tests, on series that are made up."""
    done = tools.run("promtool", "test", "rules", "tests/deploy/alerts_test.yaml")

    assert done.code == 0, done.output


def test_every_alert_has_a_severity_and_says_what_to_do(tools: Tools) -> None:
    (rules,) = tools.yaml(ALERTS)
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert len(rule["annotations"]["description"]) > 60, rule["alert"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    every = list(panels())
    taken = [
        (x, y)
        for panel in every
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len({panel["id"] for panel in every}) == len(every)
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) == 23
