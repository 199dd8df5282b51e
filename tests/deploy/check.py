"""Holds every rendered manifest to its schemas and to the rules across objects.

usage: check.py RENDERED PODS   RENDERED is a directory of what kustomize made, NAME.yaml for each overlay,
                                and may be empty; to PODS goes what the contract test is to start"""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml

import beside
import breakages
import chart
import kustomizations
import monitoring
import rules
import same
import schemas
from manifests import load


def facts():
    """What the source says: the paths of both listeners, and the Secrets that an operator makes."""
    paths = yaml.safe_load(Path("openapi.yaml").read_text(encoding="utf-8"))["paths"]
    operations = {path for path, item in paths.items() if "servers" in item}
    example = Path("deploy/kubernetes/components/external-secrets/externalsecret.yaml")
    secret = yaml.safe_load(example.read_text(encoding="utf-8"))["spec"]
    keys = {one["secretKey"] for one in secret["data"]}
    # What an operator makes by hand is in the README.
    readme = Path("README.md").read_text(encoding="utf-8")
    by_hand = set(re.findall(r"--from-file=([\w-]+)", readme))
    if not keys <= by_hand:
        sys.exit(f"README.md does not say how to make {keys - by_hand} of {secret['target']['name']}")
    return SimpleNamespace(
        public_paths=sorted(paths.keys() - operations),
        operations_paths=operations,
        secrets={secret["target"]["name"]: keys},
    )


def main():
    known = facts()
    kustomized = {path.stem: load(path.read_text(encoding="utf-8"))
                  for path in sorted(Path(sys.argv[1]).glob("*.yaml"))}
    helmed = dict(chart.rendered())
    wrong = list(chart.complaints()) + list(kustomizations.complaints("deploy/kubernetes"))
    rendered = [(f"kustomize, {name}", one) for name, one in kustomized.items()]
    rendered += [(f"chart, {name}", one) for name, one in helmed.items()]
    checked = 0
    for name, objects in rendered:
        checked += len(objects)
        found = [line for one in objects for line in schemas.complaints(one)]
        found += [f"{rule.__name__}: {line}" for rule in rules.RULES for line in rule(objects, known)]
        wrong += [f"{name}: {line}" for line in found]
    for name, objects in kustomized.items():
        wrong += same.differences(objects, helmed[name])
    wrong += breakages.unnoticed((kustomized or helmed)["everything"], known)
    wrong += beside.complaints(helmed["production"])
    wrong += monitoring.complaints()
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        sys.exit(1)
    pods = Path(sys.argv[2])
    pods.mkdir(exist_ok=True)
    for name in ("dev", "production"):
        text = yaml.safe_dump_all(kustomized.get(name) or helmed[name])
        (pods / f"{name}.yaml").write_text(text, encoding="utf-8")
    print(f"{checked} objects in {len(rendered)} renderings: Kubernetes {', '.join(schemas.VERSIONS)}, "
          f"{len(rules.RULES)} rules and {len(monitoring.alerts())} alerts, each broken on purpose and noticed")


if __name__ == "__main__":
    main()
