"""What is beside the manifests says the same as they do: the image, Compose, systemd, and versions."""

import re
from pathlib import Path

import yaml

from manifests import containers, environment, kind


def read(path):
    return Path(path).read_text(encoding="utf-8")


def version():
    return re.search(r'^version = "(.*)"$', read("Cargo.toml"), re.M)[1]


def versions():
    chart = yaml.safe_load(read("deploy/helm/jeton/Chart.yaml"))
    found = {"the chart": chart["appVersion"], "the chart itself": chart["version"],
             "the Dockerfile": re.search(r"^ARG VERSION=(.*)$", read("deploy/Dockerfile"), re.M)[1]}
    for overlay in ("dev", "production"):
        path = f"deploy/kubernetes/overlays/{overlay}/kustomization.yaml"
        for one in yaml.safe_load(read(path))["images"]:
            found[f"{one['name']} of {path}"] = one["newTag"]
    yield from (f"{where} says version {said}" for where, said in found.items() if said != version())
    rust = re.search(r'^rust-version = "(.*)"$', read("Cargo.toml"), re.M)[1]
    if f"rust:{rust}-" not in read("deploy/Dockerfile"):
        yield f"the Dockerfile does not build with Rust {rust}"


def image(template):
    stages = read("deploy/Dockerfile").split("\nFROM ")
    dockerfile = stages[-1]
    pod, container = template["spec"]["securityContext"], containers(template)[0]
    if f"\nUSER {pod['runAsUser']}:{pod['runAsGroup']}\n" not in dockerfile:
        yield "the image has another user than the pods"
    ports = " ".join(str(port["containerPort"]) for port in container["ports"])
    if f"\nEXPOSE {ports}\n" not in dockerfile:
        yield f"the image does not expose {ports}"
    if not dockerfile.startswith("scratch\n"):
        yield "there is more in the image than the binary needs"
    if '\nENTRYPOINT ["/usr/bin/jeton"]\n' not in dockerfile:
        yield "the image starts something else"
    if "command" in container:
        yield "a pod does not use the image's entry point"
    toolbox = next((stage for stage in stages if " AS toolbox\n" in stage), "")
    if f"\nUSER {pod['runAsUser']}:{pod['runAsGroup']}\n" not in toolbox or "/usr/bin/jeton" not in toolbox:
        yield "there is no toolbox, or it has another user than the pods"
    if "target: toolbox" not in read(".github/workflows/release.yml"):
        yield "the release has no toolbox, which pods want"


def drain():
    """The longest stop with default settings, in seconds."""
    text = read("config/default.toml")
    waits = re.findall(r'^drain_(?:delay|timeout) = "(\d+)s"$', text, re.M)
    return sum(map(int, waits)) + 10


def elsewhere(template):
    variables = environment(containers(template)[0])
    jeton = yaml.safe_load(read("deploy/compose.yaml"))["services"]["jeton"]
    if int(jeton["stop_grace_period"].removesuffix("s")) <= drain():
        yield f"Compose: a stop may take {drain()} s"
    if not jeton["read_only"] or jeton["cap_drop"] != ["ALL"]:
        yield "Compose: the server has more rights than in Kubernetes"
    if not all(port.startswith("127.0.0.1:") for port in jeton["ports"]):
        yield "Compose: it is reached from other machines"
    unit = read("deploy/systemd/jeton.service")
    if int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]) <= drain():
        yield f"systemd: a stop may take {drain()} s"
    if variables["JETON_CONFIG"] not in unit:
        yield "systemd: the settings are elsewhere than in Kubernetes"
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "User=jeton"):
        if f"\n{line}\n" not in unit:
            yield f"systemd: there is no {line}"


def documents(objects):
    """Whoever follows the documents labels the namespaces that the policies let in."""
    for one in kind(objects, "NetworkPolicy"):
        for rule in one["spec"].get("ingress", []):
            for peer in rule["from"]:
                for label, value in peer["namespaceSelector"]["matchLabels"].items():
                    if f"{label}={value}" not in read("deploy/README.md"):
                        yield f"deploy/README.md does not say how to get past {one['metadata']['name']}"


def complaints(objects):
    template = kind(objects, "Deployment")[0]["spec"]["template"]
    yield from versions()
    yield from image(template)
    yield from elsewhere(template)
    yield from documents(objects)
    workflow = yaml.safe_load(read(".github/workflows/release.yml"))
    for name, job in workflow["jobs"].items():
        if "permissions" not in job or "timeout-minutes" not in job:
            yield f"release workflow: {name} has no bounds"
