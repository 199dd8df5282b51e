"""The Helm chart: linted, rendered for several sets of values, and refused for others."""

from helm_python import Chart, HelmError, lint

from manifests import load

CHART = "deploy/helm/jeton"

ISSUER = {"issuer": "https://id.example.com"}
ROUTED = {**ISSUER, "ingress": {"enabled": True}}

# By the name of the overlay that they equal; the others have none.
VALUES = {
    "dev": {"issuer": "http://localhost:8080", "database": {"type": "sqlite"}},
    "production": ROUTED,
    "everything": {
        **ISSUER,
        "ingress": {"enabled": True, "className": "nginx"},
        **{part: {"enabled": True} for part in ("autoscaling", "gateway", "externalSecret")},
        "monitoring": {"enabled": True, "runbooks": "https://docs.example.com/jeton/"},
    },
    "nothing but what must be": ISSUER,
    "another image, more replicas": {
        **ISSUER,
        "image": {"repository": "registry.example.com/team/jeton", "digest": f"sha256:{'a' * 64}"},
        "replicas": 5,
        "podAnnotations": {"team": "id"},
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "pull"}],
        "priorityClassName": "high",
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
        "clients": "[[resource]]\nid = \"urn:x\"\n",
    },
    "an issuer with a path and a port": {
        "issuer": "https://example.com:8443/team/id", "ingress": {"enabled": True}, "gateway": {"enabled": True}},
    "sqlite on a class": {
        "issuer": "https://id.example.com/team", "database": {
            "type": "sqlite", "volume": {"size": "5Gi", "storageClassName": "fast"}}},
}

REFUSED = [
    {},
    {"issuer": "id.example.com"},
    {"issuer": "http://id.example.com"},
    {"issuer": "https://id.example.com/"},
    {**ISSUER, "replica": 3},
    {**ISSUER, "image": {"repo": "x"}},
    {**ISSUER, "database": {"type": "mysql"}},
    {**ISSUER, "database": {"url": "postgres://u:p@h/d"}},
    {**ISSUER, "terminationGracePeriodSeconds": 30},
    {**ISSUER, "resources": {"limits": {"memory": 5}}},
    {**ISSUER, "monitoring": {"runbooks": "https://docs.example.com/jeton"}},
]


def rendered():
    """Every set of values with its objects."""
    chart = Chart.load(CHART)
    for name, values in VALUES.items():
        files = chart.render(values, name="jeton", namespace="jeton")
        texts = [text for path, text in files.items() if path.endswith(".yaml")]
        yield name, [one for text in texts for one in load(text)]


# What a release may come to have later. A Job cannot be changed: where its pods would, it is another one.
LATER = [
    {"image": {"tag": "9"}}, {"image": {"pullPolicy": "Always"}}, {"imagePullSecrets": [{"name": "pull"}]},
    {"nodeSelector": {"pool": "id"}}, {"tolerations": [{"operator": "Exists"}]}, {"priorityClassName": "high"},
    {"affinity": {"podAntiAffinity": {}}}, {"secrets": {"name": "other"}}, {"settings": "[log]\nformat = \"text\"\n"},
]


def changed_jobs():
    """Values whose Job has the name of the one before and other pods."""
    chart = Chart.load(CHART)
    seen = {}
    for values in [{}, *LATER]:
        files = chart.render({**ISSUER, **values}, name="jeton", namespace="jeton")
        for one in load(next(text for path, text in files.items() if path.endswith("/migrate.yaml"))):
            template = one["spec"]["template"]
            if seen.setdefault(one["metadata"]["name"], template) != template:
                yield f"the chart with {values} changes a Job, which Kubernetes refuses"
    if len(seen) != 1 + len(LATER):
        yield f"there are {len(seen)} Jobs, and {1 + len(LATER)} were expected"


def complaints():
    """What the linter finds, and values that ought to be refused and are not."""
    for name, values in VALUES.items():
        report = lint(CHART, values, strict=True, kube_version="v1.34.0")
        # 1 is "an icon is recommended".
        for message in report["messages"]:
            if message["severity"] > 1:
                yield f"chart with {name}: {message['path']}: {message['error']}"
        yield from (f"chart with {name}: {error}" for error in report["errors"])
    yield from changed_jobs()
    chart = Chart.load(CHART)
    for values in REFUSED:
        try:
            chart.validate_schema(chart.merge_values(values))
        except HelmError:
            continue
        yield f"the chart takes {values}"
