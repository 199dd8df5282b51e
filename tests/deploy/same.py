"""The chart and the kustomizations describe the same objects, but for labels and made-up names."""

import copy
import difflib
import re

import tomli
import yaml

from manifests import containers, templates, title


def plain(objects):
    """Objects without what may differ."""
    made_up = {one["metadata"]["name"]: "jeton-config" for one in objects
               if one["kind"] == "ConfigMap" and "jeton.toml" in one["data"]}
    text = yaml.safe_dump_all(copy.deepcopy(objects))
    for name, plain_name in made_up.items():
        text = re.sub(rf"\b{re.escape(name)}(?=\s)", plain_name, text)
    found = {}
    for one in yaml.safe_load_all(text):
        if one["kind"] == "Namespace":
            continue
        one["metadata"] = {"name": re.sub(r"^(jeton-migrate)-[0-9a-f]{8}$", r"\1", one["metadata"]["name"])}
        if one["kind"] == "ConfigMap":
            one["data"] = {key: tomli.loads(value) if key.endswith(".toml") else value
                           for key, value in one["data"].items()}
        for _, template in templates([one]):
            template["metadata"].pop("annotations", None)
            for container in containers(template):
                container.pop("imagePullPolicy", None)
                container["env"] = {variable.pop("name"): variable for variable in container["env"]}
                mounts = container["volumeMounts"]
                container["volumeMounts"] = {mount["mountPath"]: mount for mount in mounts}
            volumes = template["spec"]["volumes"]
            template["spec"]["volumes"] = {volume["name"]: volume for volume in volumes}
        without_instance(one)
        found[title(one)] = yaml.safe_dump(one).splitlines()
    return found


def without_instance(one):
    if isinstance(one, dict):
        one.pop("app.kubernetes.io/instance", None)
        for value in one.values():
            without_instance(value)
    elif isinstance(one, list):
        for value in one:
            without_instance(value)


def differences(kustomized, helmed):
    left, right = plain(kustomized), plain(helmed)
    for name in sorted(left.keys() | right.keys()):
        yield from difflib.unified_diff(
            left.get(name, []), right.get(name, []), f"{name}, kustomize", f"{name}, chart", "", "", 2, "")
