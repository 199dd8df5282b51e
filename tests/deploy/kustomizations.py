"""Kustomizations read without kustomize: for machines without kubectl, and for what it lets pass."""

from pathlib import Path

import yaml

KEYS = {
    "apiVersion", "kind", "namespace", "resources", "components", "labels", "configMapGenerator",
    "patches", "images", "replacements",
}


def complaints(root):
    for path in sorted(Path(root).rglob("kustomization.yaml")):
        what = yaml.safe_load(path.read_text(encoding="utf-8"))
        component = "components" in path.parts
        wanted = ("v1alpha1", "Component") if component else ("v1beta1", "Kustomization")
        if (what["apiVersion"], what["kind"]) != (f"kustomize.config.k8s.io/{wanted[0]}", wanted[1]):
            yield f"{path}: it is no {wanted[1]}"
        yield from (f"{path}: no such key: {key}" for key in what.keys() - KEYS)
        if not component and what.get("namespace", "jeton") != "jeton":
            yield f"{path}: another namespace"
        named = what.get("resources", []) + what.get("components", [])
        named += [patch["path"] for patch in what.get("patches", []) if "path" in patch]
        named += [file for one in what.get("configMapGenerator", []) for file in one["files"]]
        for name in named:
            target = path.parent / name
            if not (target.is_file() or (target / "kustomization.yaml").is_file()):
                yield f"{path}: there is no {name}"
        beside = {file.name for file in path.parent.glob("*") if file.is_file()} - {path.name}
        yield from (f"{path}: it does not use {file}" for file in beside - set(named))
