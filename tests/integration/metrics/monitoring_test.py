#!/usr/bin/env python3
"""monitoring_test.py RENDER DAEMON DP_MLA A8ACTL: alerts and dashboard of deploy/monitoring ask for what a daemon shows.

Names and labels of every expression are compared with a real daemon's page; the alerts pass promtool and their own
tests; every expression of the dashboard gets an answer from a prometheus that scrapes a daemon under load. Without
promtool and prometheus only the first.
"""

import importlib.machinery
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

from daemon_under_load import Daemon, Load, eventually

RENDER, programs = pathlib.Path(sys.argv[1]), types.SimpleNamespace(
    **dict(zip(("daemon", "dp_mla", "a8actl"), sys.argv[2:5])))
MONITORING = RENDER.parent
loader = importlib.machinery.SourceFileLoader("render", str(RENDER))
render = importlib.util.module_from_spec(importlib.util.spec_from_loader("render", loader))
loader.exec_module(render)

# What prometheus adds to every series that it scrapes.
ADDED_LABELS = {"job", "instance"}
FUNCTIONS = {"sum", "by", "on", "and", "rate", "increase", "histogram_quantile"}


def expressions():
    """(where, expression) of every alert and panel."""
    for line in (MONITORING / "a8a.rules.yml").read_text().splitlines():
        if match := re.match(r"\s*expr: (.*)", line):
            yield "a8a.rules.yml", match[1]
    for panel in render.panels():
        for target in panel["targets"]:
            yield panel["title"], render.as_grafana_asks(target["expr"])
    dashboard = render.json.loads(render.DASHBOARD.read_text())
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], render.as_grafana_asks(annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.fullmatch(r"label_values\((\w+), \w+\)", variable["query"]["query"])[1]


class MonitoringTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="a8a-monitoring-")
        cls.addClassCleanup(directory.cleanup)
        cls.daemon = cls.enterClassContext(Daemon(programs, directory.name))
        cls.load = cls.enterClassContext(Load(cls.daemon, layers=1000))  # for minutes: rates are asked for
        cls.page = eventually(lambda: (page := cls.daemon.scrape()).sum("a8a_rank_all_to_alls_total") > 0 and page,
                              "the ranks run")

    def labels_of(self, name):
        return set().union(*({key for key, _ in labels} for has, labels in self.page.series if has == name))

    def check(self, where, expression):
        without_text = re.sub(r'"[^"]*"', '""', expression)
        names = set(re.findall(r"[a-zA-Z_]\w*", re.sub(r"\{[^}]*\}|\[[^\]]*\]|(?:by|on) \([^)]*\)", "", without_text)))
        metrics = names - FUNCTIONS
        self.assertTrue(metrics, (where, expression))
        if metrics == {"up"}:
            return
        self.assertLessEqual(metrics, self.page.names(), where)
        labels = ADDED_LABELS.union(*(self.labels_of(name) for name in metrics))
        asked = set(re.findall(r"(\w+)(?:=~|!=|!~|=)", " ".join(re.findall(r"\{([^}]*)\}", expression))))
        for listed in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            asked |= {label.strip() for label in listed.split(",")}
        self.assertLessEqual(asked, labels, f"{where}: {expression}")
        # Values that the daemon shows from its start.
        for selector in re.findall(r"\{([^}]*)\}", expression):
            for label, value in re.findall(r'(\w+)="([^"]*)"', selector):
                shown = {has for name in metrics for labels, _ in self.page.matching(name) if (has := labels.get(label))}
                if label not in ADDED_LABELS and shown and label != "code":
                    self.assertIn(value, shown, f"{where}: {expression}")

    def test_every_expression_names_what_the_daemon_shows(self):
        seen = list(expressions())
        self.assertGreater(len(seen), 30)
        for where, expression in seen:
            with self.subTest(where):
                self.check(where, expression)

    def test_a_name_or_label_that_is_not_there_is_found(self):
        for bad in ("rate(a8a_all_to_all_total[5m])", 'a8a_pool_leased_bytes{gpu="0"}', "sum by (ranks) (a8a_groups)",
                    'a8a_groups_ended_total{reason="died"}'):
            with self.assertRaises(AssertionError, msg=bad):
                self.check("bad", bad)

    @unittest.skipUnless(shutil.which("promtool"), "no promtool here (Debian package prometheus)")
    def test_alerts_pass_their_own_tests(self):
        for arguments in (["check", "rules", "a8a.rules.yml"], ["test", "rules", "a8a.rules.test.yml"]):
            said = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_every_alert_has_a_test(self):
        alerts = set(re.findall(r"alert: (\w+)", (MONITORING / "a8a.rules.yml").read_text()))
        tested = set(re.findall(r"alertname: (\w+)\s+eval_time: \w+\s+exp_alerts:\n",
                                (MONITORING / "a8a.rules.test.yml").read_text()))
        self.assertEqual(alerts, tested)

    @unittest.skipUnless(shutil.which("prometheus"), "no prometheus here (Debian package prometheus)")
    def test_every_expression_of_the_dashboard_is_answered(self):
        with render.Prometheus(self.daemon.metrics_socket, MONITORING / "a8a.rules.yml") as prometheus:
            prometheus.wait_for("rate(a8a_rank_all_to_alls_total[10s])")
            for panel in render.panels():
                for target in panel["targets"]:
                    with self.subTest(target["expr"]):
                        expression = render.as_grafana_asks(target["expr"])
                        self.assertTrue(prometheus.ask("query", query=expression)["result"], panel["title"])
            rules = prometheus.ask("rules")["groups"][0]["rules"]
            self.assertEqual([rule["name"] for rule in rules if rule["health"] == "err"], [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[5:]])
