"""Strict schemas: Kubernetes' own for three versions, and for the resources of operators the keys that
we use, so that a misspelt one is found."""

import functools
import json

import jsonschema
import kubernetes_validate

VERSIONS = ("1.27", "1.34", "1.37")


def string(**more):
    return {"type": "string", "minLength": 1, **more}


def table(properties, *required):
    return {
        "type": "object", "properties": properties, "required": list(required),
        "additionalProperties": False,
    }


def several(items):
    return {"type": "array", "minItems": 1, "items": items}


LABELS = {"type": "object", "minProperties": 1, "additionalProperties": string()}

OPERATORS = {
    "monitoring.coreos.com/v1 PodMonitor": table({
        "selector": table({"matchLabels": LABELS}, "matchLabels"),
        "podMetricsEndpoints": several(table(
            {"port": string(), "path": string(pattern="^/"), "interval": string(pattern="^[0-9]+(s|m)$")},
            "port", "path")),
    }, "selector", "podMetricsEndpoints"),
    "monitoring.coreos.com/v1 PrometheusRule": table({
        "groups": several(table({
            "name": string(),
            "rules": several(table({
                "alert": string(pattern="^[A-Z][A-Za-z]+$"), "expr": string(),
                "for": string(pattern="^[0-9]+(s|m|h)$"), "labels": LABELS, "annotations": LABELS,
            }, "alert", "expr", "labels", "annotations")),
        }, "name", "rules")),
    }, "groups"),
    "gateway.networking.k8s.io/v1 HTTPRoute": table({
        "parentRefs": several(table(
            {"name": string(), "namespace": string(), "group": string(), "kind": string(),
             "sectionName": string(), "port": {"type": "integer"}}, "name")),
        "hostnames": several(string(pattern=r"^[a-z0-9.-]+$")),
        "rules": several(table({
            # The first release of v1 took eight at most.
            "matches": {**several(table({"path": table(
                {"type": {"enum": ["Exact", "PathPrefix"]}, "value": string(pattern="^/")},
                "type", "value")}, "path")), "maxItems": 8},
            "backendRefs": several(table({"name": string(), "port": {"type": "integer"}}, "name", "port")),
        }, "matches", "backendRefs")),
    }, "parentRefs", "hostnames", "rules"),
    "external-secrets.io/v1 ExternalSecret": table({
        "refreshInterval": string(),
        "secretStoreRef": table(
            {"kind": {"enum": ["ClusterSecretStore", "SecretStore"]}, "name": string()}, "kind", "name"),
        "target": table({
            "name": string(), "creationPolicy": {"enum": ["Orphan"]}, "deletionPolicy": {"enum": ["Retain"]}},
            "name", "creationPolicy", "deletionPolicy"),
        "data": several(table({
            "secretKey": string(), "remoteRef": table({"key": string(), "property": string()}, "key"),
        }, "secretKey", "remoteRef")),
    }, "refreshInterval", "secretStoreRef", "target", "data"),
}


def complaints(one):
    """What is wrong with an object by itself. The same object is in many renderings."""
    return found(json.dumps(one, sort_keys=True))


@functools.cache
def found(text):
    return list(look(json.loads(text)))


def look(one):
    which = f"{one['apiVersion']} {one['kind']}"
    name = f"{one['kind']}/{one['metadata']['name']}"
    if which in OPERATORS:
        whole = table({"apiVersion": string(), "kind": string(), "metadata": {"type": "object"},
                       "spec": OPERATORS[which]}, "metadata", "spec")
        for error in jsonschema.Draft202012Validator(whole).iter_errors(one):
            yield f"{name}: {'.'.join(map(str, error.path))}: {error.message}"
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name}, Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        # An API that this version does not have: the tool itself only warns of that.
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{name}, Kubernetes {version}: {error.message}"
