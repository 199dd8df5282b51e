"""Rendered objects, and questions about them that several rules ask."""

import re

import tomli
import yaml

# What goes on until somebody stops it; the rest comes to an end.
SERVERS = ("Deployment", "StatefulSet", "DaemonSet")
WORKLOADS = (*SERVERS, "Job", "CronJob")


def load(text):
    return [one for one in yaml.safe_load_all(text) if one]


def kind(objects, *kinds):
    return [one for one in objects if one["kind"] in kinds]


def named(objects, one_kind, name):
    return next((one for one in kind(objects, one_kind) if one["metadata"]["name"] == name), None)


def title(one):
    return f"{one['kind']}/{one['metadata']['name']}"


def templates(objects):
    """Every workload with its pod template."""
    return [(one, one["spec"].get("jobTemplate", one)["spec"]["template"])
            for one in kind(objects, *WORKLOADS)]


def labels(template):
    return template["metadata"].get("labels", {})


def fits(selector, found):
    return bool(selector) and all(found.get(key) == value for key, value in selector.items())


def selected(objects, selector):
    """The workloads whose pods a selector picks."""
    return [(one, template) for one, template in templates(objects) if fits(selector, labels(template))]


def containers(template):
    spec = template["spec"]
    return spec.get("initContainers", []) + spec["containers"]


def ports(template):
    """Named ports of a pod."""
    return {
        port["name"]: port["containerPort"]
        for one in containers(template)
        for port in one.get("ports", [])
    }


def environment(container):
    return {one["name"]: one.get("value") for one in container.get("env", [])}


def files(objects, template):
    """What lies where in a pod: path → (text or None for a secret's, mode, Secret and its key)."""
    found = {}
    volumes = {one["name"]: one for one in template["spec"].get("volumes", [])}
    for container in containers(template):
        for mount in container.get("volumeMounts", []):
            volume = volumes.get(mount["name"], {})
            sources = volume.get("projected", {}).get("sources") or [volume]
            mode = next((one[form].get("defaultMode", 0o644) for form in ("projected", "secret", "configMap")
                         for one in [volume] if form in one), None)
            for source in sources:
                if config := source.get("configMap"):
                    data = (named(objects, "ConfigMap", config["name"]) or {}).get("data", {})
                    for key, text in data.items():
                        found[f"{mount['mountPath']}/{key}"] = (text, mode, None)
                if secret := source.get("secret"):
                    name = secret.get("secretName") or secret.get("name")
                    for item in secret.get("items", []):
                        found[f"{mount['mountPath']}/{item['path']}"] = (None, mode, (name, item["key"]))
    return found


def settings(objects, template, container):
    """The server's own settings, as its ConfigMap has them."""
    path = environment(container).get("JETON_CONFIG")
    text = files(objects, template).get(path, ("", None, None))[0]
    return tomli.loads(text or "")


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]
