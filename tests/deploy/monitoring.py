"""Alerts and dashboard: each alert's unit test is seen to notice when its alert is broken, every query can
be parsed, every metric and label in them is one that the real binary shows, and each alert has its
section in the runbooks.

`check.py` asks what needs no server, `contract.py` what needs one. Wants promtool and Prometheus."""

import concurrent.futures
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

ALERTS = Path("deploy/monitoring/alerts.yaml")
DASHBOARD = Path("deploy/monitoring/dashboard.json")
TESTS = Path("tests/deploy/alerts.yaml")
RUNBOOK = Path("docs/runbooks/alerts.md")
COPIES = {
    "deploy/kubernetes/components/monitoring/dashboard.json": DASHBOARD,
    "deploy/helm/jeton/files/dashboard.json": DASHBOARD,
    "deploy/helm/jeton/files/alerts.yaml": ALERTS,
}
# What is shown only where there is a certificate is seen by these tests.
WITH_TLS = Path("tests/it/tls.rs")
PROMETHEUS_RULE = Path("deploy/kubernetes/components/monitoring/prometheusrule.yaml")

# A metric of ours, or one about the process, with what it is asked for.
SELECTOR = re.compile(r"\b((?:jeton|process)_[a-z0-9_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
SERIES = re.compile(r"^([a-z0-9_]+)(?:\{(.*)\})? \S+$", re.M)


def read(path):
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def alerts():
    return [rule for group in read(ALERTS)["groups"] for rule in group["rules"]]


def panels():
    """Every query of the dashboard, with its panel's title; variables are filled in."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
            yield panel["title"], expr


def promtool(*args, text=None):
    return subprocess.run(["promtool", *map(str, args)], input=text, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def tests_pass(rule, tests):
    """Whether the unit tests of one alert pass with this rule, which may be a broken one."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work)
        (path / "rule.yaml").write_text(json.dumps({"groups": [{"name": "x", "rules": [rule]}]}))
        # A day in steps of a minute takes a second, for each way of breaking an alert.
        long = any(one["promql_expr_test"][0]["eval_time"].endswith("h") for one in tests)
        whole = {"rule_files": ["rule.yaml"], "evaluation_interval": "5m" if long else "1m", "tests": tests}
        (path / "tests.yaml").write_text(json.dumps(whole))
        done = promtool("test", "rules", path / "tests.yaml")
    return done.returncode == 0, done.stdout


def broken(rule):
    """The same alert, broken in every way that we know."""
    expr = rule["expr"]

    def with_(text):
        return {**rule, "expr": text}

    yield "it never fires", with_("vector(0) > 1")
    yield "it always fires", with_("vector(1)")
    if "for" in rule:
        yield "it does not wait", {key: value for key, value in rule.items() if key != "for"}
    for word in re.finditer(r" (>|<|==) ", expr):
        other = {">": "<", "<": ">", "==": "!="}[word[1]]
        yield f"{word[1]} is {other}", with_(f"{expr[:word.start(1)]}{other}{expr[word.end(1):]}")
    for number in re.finditer(r"> ([0-9.]+)(?=$|\s+and)", expr):
        if float(number[1]):
            for factor in (100, 0.01):
                text = f"{expr[:number.start(1)]}{float(number[1]) * factor}{expr[number.end(1):]}"
                yield f"its threshold is times {factor}", with_(text)
    if re.search(r"\sunless\s", expr):
        yield "its unless is gone", with_(re.split(r"\sunless\s", expr)[0])
    for reason in re.findall(r'reason=~?"([^"]*)"', expr)[:1]:
        yield "it asks for another reason", with_(expr.replace(reason, "path_unknown"))


def untested(rule, tests):
    """What is wrong with the tests of one alert."""
    name = rule["alert"]
    fires = [one for one in tests if one["name"].startswith(f"{name} fires: ")]
    silent = [one for one in tests if one["name"].startswith(f"{name} is silent: ")]
    if not fires or not silent or len(fires) + len(silent) != len(tests):
        return [f"{name}: a test that it fires and one that it is silent are wanted"]
    wrong = [f"{name}: {one['name']}: it does not expect that" for one in tests
             if bool(one["promql_expr_test"][0]["exp_samples"]) != (one in fires)]
    passed, said = tests_pass(rule, tests)
    if not passed:
        wrong.append(f"{name}: {said}")
    wrong += [f"{name}: no test notices that {what}" for what, other in broken(rule)
              if tests_pass(other, tests)[0]]
    return wrong


def unit_tests():
    rules, tests = alerts(), read(TESTS)["tests"]
    names = {rule["alert"] for rule in rules}
    for one in tests:
        if one["name"].split()[0] not in names:
            yield f"{one['name']}: there is no such alert"
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        mine = [[one for one in tests if one["name"].split()[0] == rule["alert"]] for rule in rules]
        for wrong in pool.map(untested, rules, mine):
            yield from wrong


def annotations():
    """Each alert says what it is, how bad, and where to read on; and each section is an alert's."""
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.M)
    names = [rule["alert"] for rule in alerts()]
    for rule in alerts():
        name = rule["alert"]
        if rule["labels"].get("severity") not in ("critical", "warning"):
            yield f"{name}: no severity"
        if rule["annotations"].keys() != {"summary", "description", "runbook_url"}:
            yield f"{name}: summary, description and runbook_url are wanted"
        if rule["annotations"]["runbook_url"] != f"{RUNBOOK}#{name.lower()}":
            yield f"{name}: its runbook_url is not {RUNBOOK}#{name.lower()}"
    yield from (f"{RUNBOOK} has no section {name}" for name in names if name not in sections)
    yield from (f"{RUNBOOK}: there is no alert {name}" for name in sections if name not in names)


def copies():
    for copy, source in COPIES.items():
        if Path(copy).read_bytes() != source.read_bytes():
            yield f"{copy} is not {source}: run deploy/monitoring/spread"
    if read(PROMETHEUS_RULE)["spec"]["groups"] != read(ALERTS)["groups"]:
        yield f"{PROMETHEUS_RULE} is not {ALERTS}: run deploy/monitoring/spread"


def queries():
    """Whether every query can be parsed; a dashboard's are made into rules for that."""
    rules = [{"record": f"panel_{number}", "expr": expr} for number, (_, expr) in enumerate(panels())]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"groups": [{"name": "panels", "rules": rules}]}, file)
        file.flush()
        for path in (ALERTS, file.name):
            done = promtool("check", "rules", path)
            if done.returncode:
                yield done.stdout


def complaints():
    for check in (copies, queries, annotations, unit_tests):
        yield from check()


def series(text):
    """Every series of a scrape: its name and its labels."""
    for name, labels in SERIES.findall(text):
        yield name, {one: value for one, _, value in MATCHER.findall(labels)}


def stages():
    """Those of keys: at any moment only some are shown."""
    source = Path("src/domain/signing_key.rs").read_text(encoding="utf-8")
    return set(re.findall(r'Self::\w+ => "(\w+)"', source))


def missing(text):
    """Metrics, labels and values that a query asks for and the binary does not show."""
    shown = {}
    for name, labels in series(text):
        shown.setdefault(name, []).append(labels)
    asked = [(rule["alert"], rule["expr"]) for rule in alerts()] + list(panels())
    for where, expr in asked:
        for name, matchers in SELECTOR.findall(expr):
            if name.startswith("jeton_tls_") and name in WITH_TLS.read_text(encoding="utf-8"):
                continue
            if name not in shown:
                yield f"{where}: the binary does not show {name}"
                continue
            for label, sign, value in MATCHER.findall(matchers):
                for one in value.split("|") if sign == "=~" else [value]:
                    # Prometheus itself adds what tells one target from another.
                    if label == "stage" and one in stages():
                        continue
                    if label not in ("job", "instance") and not any(
                            re.fullmatch(one, labels.get(label, "")) for labels in shown[name]):
                        yield f"{where}: {name} has no {label}=\"{one}\""


def scrape_complaints(text):
    """What is wrong with a scrape of the real binary."""
    done = promtool("check", "metrics", text=text)
    if done.returncode or done.stdout.strip():
        yield f"promtool check metrics: {done.stdout}"
    yield from missing(text)


def empty_panels(target, port, ask, patience=30):
    """Panels that show nothing in a real Prometheus which scrapes this address, while `ask` asks for what they
    are to show."""
    with tempfile.TemporaryDirectory() as work:
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                  "rule_files": [str(ALERTS.resolve())],
                  "scrape_configs": [{"job_name": "jeton", "static_configs": [{"targets": [target]}]}]}
        Path(work, "prometheus.yml").write_text(json.dumps(config))
        with open(Path(work, "log"), "w", encoding="utf-8") as log:
            child = subprocess.Popen(
                ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data",
                 f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            left, ends = list(panels()), time.monotonic() + patience
            while left and time.monotonic() < ends and child.poll() is None:
                time.sleep(0.5)
                ask()
                left = [one for one in left if not has_series(port, one[1])]
            if left:
                print(Path(work, "log").read_text(encoding="utf-8")[-2000:], file=sys.stderr)
            return [title for title, _ in left]
        finally:
            child.kill()
            child.wait()


def has_series(port, expr):
    # Two scrapes are enough for a rate, and there is no time for more.
    query = urllib.parse.urlencode({"query": expr})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=5) as answer:
            return any(shown(one) for one in json.load(answer)["data"]["result"])
    except OSError:
        return False


def shown(one):
    """Whether a panel shows this value: of 0/0 Grafana leaves the place blank."""
    return math.isfinite(float(one["value"][1]))


if __name__ == "__main__":
    found = list(complaints())
    sys.exit("\n".join(found) if found else 0)
