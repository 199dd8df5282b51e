"""What no schema says: rules across objects. Each takes the rendered objects and what the source says
about the server, and yields a complaint for whatever is wrong. `breakages.py` breaks each once."""

import re
from pathlib import Path

import tomli

from manifests import (
    SERVERS, containers, environment, files, fits, kind, labels, named, ports, seconds, selected, settings,
    templates, title,
)

PROBES = {
    "startupProbe": "/healthz/startup",
    "livenessProbe": "/healthz/live",
    "readinessProbe": "/healthz/ready",
}

# `serve` waits so long for its database, in seconds; and after draining at most so long for the last
# notes and the database.
WAITS_FOR_DATABASE = 60
LAST_ACTS = 10

# What Postgres leaves of its 100 connections when nobody has set it up otherwise.
POSTGRES_CONNECTIONS = 97
POOL = tomli.loads(Path("config/default.toml").read_text(encoding="utf-8"))["database"]["pool"]


def selectors_pick_the_servers_pods(objects, facts):
    for one, template in templates(objects):
        selector = one["spec"].get("selector", {}).get("matchLabels")
        if one["kind"] in SERVERS and not fits(selector, labels(template)):
            yield f"{title(one)} does not select its own pods"
    wanted = {title(one) for one, _ in templates(objects) if one["kind"] in SERVERS}
    pickers = [(one, one["spec"].get("selector")) for one in kind(objects, "Service")]
    for one in kind(objects, "PodDisruptionBudget", "PodMonitor"):
        pickers.append((one, one["spec"]["selector"].get("matchLabels")))
    for one, template in templates(objects):
        for spread in template["spec"].get("topologySpreadConstraints", []):
            pickers.append((one, spread["labelSelector"]["matchLabels"]))
    for one, selector in pickers:
        found = {title(workload) for workload, _ in selected(objects, selector)}
        if found != wanted:
            yield f"{title(one)} selects {sorted(found)} and not {sorted(wanted)}"


def ports_that_are_named_exist(objects, facts):
    for one in kind(objects, "Service"):
        for _, template in selected(objects, one["spec"].get("selector")):
            for port in one["spec"]["ports"]:
                if port["targetPort"] not in ports(template):
                    yield f"{title(one)}: no container port is named {port['targetPort']}"
    for one in kind(objects, "NetworkPolicy"):
        for _, template in selected(objects, one["spec"]["podSelector"].get("matchLabels")):
            for rule in one["spec"].get("ingress", []):
                for port in rule.get("ports", []):
                    if port["port"] not in ports(template):
                        yield f"{title(one)}: no container port is named {port['port']}"
    for one in kind(objects, "PodMonitor"):
        for _, template in selected(objects, one["spec"]["selector"].get("matchLabels")):
            for endpoint in one["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in ports(template):
                    yield f"{title(one)}: no container port is named {endpoint['port']}"
    for route, service, port in backends(objects):
        found = named(objects, "Service", service)
        known = [{one["name"], one["port"]} for one in found["spec"]["ports"]] if found else []
        if not any(port in names for names in known):
            yield f"{title(route)}: Service {service} has no port {port}"


def ports_are_those_that_the_server_listens_on(objects, facts):
    for one, template in templates(objects):
        for container in containers(template):
            if not container.get("ports"):
                continue
            server = settings(objects, template, container).get("server", {})
            for name, setting in (("http", "public"), ("operations", "operations")):
                listens = server.get(setting, "").rpartition(":")[2]
                if str(ports(template).get(name)) != listens:
                    yield f"{title(one)}: port {name} is not that of server.{setting}, {listens!r}"


def what_is_referred_to_exists(objects, facts):
    for one, template in templates(objects):
        spec = template["spec"]
        if not named(objects, "ServiceAccount", spec.get("serviceAccountName")):
            yield f"{title(one)}: no ServiceAccount {spec.get('serviceAccountName')}"
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for volume in volumes.values():
            yield from missing_sources(objects, facts, one, volume)
        for container in containers(template):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{title(one)}: no volume {mount['name']}"
            for variable in container.get("env", []):
                ref = variable.get("valueFrom", {}).get("configMapKeyRef")
                if ref and ref["key"] not in (named(objects, "ConfigMap", ref["name"]) or {}).get("data", {}):
                    yield f"{title(one)}: no key {ref['key']} in ConfigMap {ref['name']}"


def missing_sources(objects, facts, one, volume):
    for source in volume.get("projected", {}).get("sources") or [volume]:
        if config := source.get("configMap"):
            if not named(objects, "ConfigMap", config["name"]) and not config.get("optional"):
                yield f"{title(one)}: no ConfigMap {config['name']}"
        if secret := source.get("secret"):
            name = secret.get("secretName") or secret.get("name")
            keys = facts.secrets.get(name)
            if keys is None and not secret.get("optional"):
                yield f"{title(one)}: nothing says how to make the Secret {name}"
            for item in secret.get("items", []):
                if item["key"] not in (keys or []):
                    yield f"{title(one)}: nothing says how to make the key {item['key']} of {name}"
        if claim := source.get("persistentVolumeClaim"):
            if not named(objects, "PersistentVolumeClaim", claim["claimName"]):
                yield f"{title(one)}: no PersistentVolumeClaim {claim['claimName']}"


def files_that_are_named_are_mounted(objects, facts):
    for one, template in templates(objects):
        there = files(objects, template)
        for container in containers(template):
            variables = environment(container)
            paths = [variables.get("JETON_CONFIG")]
            # A toolbox has copies, which another rule looks at.
            paths += [variables.get("JETON__DATABASE__URL_FILE")] if one["kind"] != "CronJob" else []
            args = container.get("args", [])
            paths += [args[at + 1] for at, arg in enumerate(args) if arg == "--apply"]
            if "serve" in args:
                paths.append(settings(objects, template, container).get("secrets", {}).get("file"))
            for path in filter(None, paths):
                if path not in there:
                    yield f"{title(one)}: no file {path} is mounted"


def probes_ask_the_operations_listener(objects, facts):
    for one, template in templates(objects):
        for container in containers(template):
            for probe, path in PROBES.items():
                asked = container.get(probe, {}).get("httpGet")
                if one["kind"] not in SERVERS:
                    continue
                if not asked or asked["path"] != path or path not in facts.operations_paths:
                    yield f"{title(one)}: {probe} does not ask {path}"
                elif asked["port"] != "operations":
                    yield f"{title(one)}: {probe} does not ask the operations listener"
            start = container.get("startupProbe")
            if start and start["periodSeconds"] * start["failureThreshold"] <= WAITS_FOR_DATABASE:
                yield f"{title(one)}: it is restarted while it waits for its database"
    for one in kind(objects, "PodMonitor"):
        for endpoint in one["spec"]["podMetricsEndpoints"]:
            if endpoint["path"] not in facts.operations_paths or endpoint["port"] != "operations":
                yield f"{title(one)} does not ask the operations listener for metrics"


def the_grace_is_longer_than_a_stop(objects, facts):
    for one, template in templates(objects):
        for container in containers(template):
            if "serve" not in container.get("args", []):
                continue
            server = settings(objects, template, container).get("server", {})
            longest = seconds(server["drain_delay"]) + seconds(server["drain_timeout"]) + LAST_ACTS
            grace = template["spec"].get("terminationGracePeriodSeconds", 30)
            if grace <= longest:
                yield f"{title(one)}: a stop may take {longest} s, and the grace is {grace} s"


def resources_are_given(objects, facts):
    for one, template in templates(objects):
        for container in containers(template):
            given = container.get("resources", {})
            if not {"cpu", "memory"} <= given.get("requests", {}).keys():
                yield f"{title(one)}: it does not request cpu and memory"
            if given.get("limits", {}).keys() != {"memory"}:
                yield f"{title(one)}: its limits are not memory alone"


def pods_are_restricted(objects, facts):
    for one, template in templates(objects):
        spec = template["spec"]
        pod = spec.get("securityContext", {})
        checks = {
            "runAsNonRoot": pod.get("runAsNonRoot") is True,
            "a high user": pod.get("runAsUser", 0) >= 10_000 and pod.get("runAsGroup", 0) >= 10_000,
            "fsGroup": pod.get("fsGroup") == pod.get("runAsGroup"),
            "seccomp": pod.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "no token": spec.get("automountServiceAccountToken") is False,
            "no service links": spec.get("enableServiceLinks") is False,
            "no host namespaces": not any(spec.get(f"host{name}") for name in ("Network", "PID", "IPC")),
            "no hostPath": not any("hostPath" in volume for volume in spec.get("volumes", [])),
        }
        for container in containers(template):
            context = container.get("securityContext", {})
            capabilities = context.get("capabilities", {})
            checks |= {
                "no escalation": context.get("allowPrivilegeEscalation") is False,
                "a read-only root": context.get("readOnlyRootFilesystem") is True,
                "no capabilities": capabilities == {"drop": ["ALL"]},
                "nothing undone": not context.keys() - {
                    "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"},
                "no host ports": not any("hostPort" in port for port in container.get("ports", [])),
            }
        yield from (f"{title(one)}: {what} is missing" for what, holds in checks.items() if not holds)


def the_image_is_one_and_pinned(objects, facts):
    images = {c["image"] for one, template in templates(objects) for c in containers(template)
              if one["kind"] != "CronJob"}
    if len(images) != 1:
        yield f"there is more than one image: {sorted(images)}"
    tools = {c["image"] for one, template in templates(objects) for c in containers(template)} - images
    for image in images:
        repository, tag = re.fullmatch(r"(.*?)(?:@.*|:([^/:]*))?", image).groups()
        for tool in tools:
            if not re.fullmatch(rf"{re.escape(repository)}-toolbox:{re.escape(tag) if tag else '.+'}", tool):
                yield f"{tool} is not the toolbox of {image}"
    for image in images | tools:
        if ":" not in image.rpartition("/")[2] or image.endswith(":latest"):
            yield f"{image} names no version"


def backends(objects):
    """Each route with the Service and port behind it."""
    for one in kind(objects, "Ingress"):
        for rule in one["spec"].get("rules", []):
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield one, service["name"], next(iter(service["port"].values()))
        if "defaultBackend" in one["spec"]:
            yield one, one["spec"]["defaultBackend"]["service"]["name"], None
    for one in kind(objects, "HTTPRoute"):
        for rule in one["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield one, backend["name"], backend["port"]


def operations_are_out_of_the_publics_reach(objects, facts):
    public = {service for _, service, _ in backends(objects)}
    for one in kind(objects, "Service"):
        if one["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{title(one)} is reachable from outside"
        targets = {port["targetPort"] for port in one["spec"]["ports"]}
        if len(targets) != 1:
            yield f"{title(one)} leads to more than one listener"
        if one["metadata"]["name"] in public and targets != {"http"}:
            yield f"{title(one)} is behind a public route and leads to {sorted(targets)}"
    open_to = {}
    for one in kind(objects, "NetworkPolicy"):
        for rule in one["spec"].get("ingress", []):
            if not rule.get("from") or not rule.get("ports"):
                yield f"{title(one)} lets everybody in, or to every port"
            for port in rule.get("ports", []):
                open_to.setdefault(str(rule.get("from")), set()).add(port["port"])
    for peers, reached in open_to.items():
        if "operations" in reached and reached != {"operations"}:
            yield f"whoever may call may also reach operations: {peers}"


def path_type(path):
    """ingress-nginx since 1.12 refuses an Ingress with a dot in an Exact path (kubernetes/ingress-nginx#11176)."""
    return "ImplementationSpecific" if "." in path else "Exact"


def public_paths(facts, issuer):
    """Where they are for an issuer with a path (RFC 8414 section 3.1)."""
    path = "".join(f"/{part}" for part in issuer.split("/")[3:])
    for public in facts.public_paths:
        if public != "/.well-known/oauth-authorization-server":
            yield path + public
        if path and public == "/.well-known/openid-configuration" or public == "/.well-known/oauth-authorization-server":
            yield public + path


def routes_list_the_public_paths_exactly(objects, facts):
    issuer = next((one["data"]["issuer"] for one in kind(objects, "ConfigMap")
                   if "issuer" in one.get("data", {})), "")
    host = (issuer.split("/") + ["", "", ""])[2].split(":")[0]
    public = list(public_paths(facts, issuer))
    for one in kind(objects, "Ingress"):
        for rule in one["spec"]["rules"]:
            paths = [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]
            if sorted(paths) != sorted((path, path_type(path)) for path in public):
                yield f"{title(one)} does not list the public paths"
            if rule.get("host") != host:
                yield f"{title(one)} is for {rule.get('host')}, and the issuer is {issuer}"
        if "defaultBackend" in one["spec"] or [t["hosts"] for t in one["spec"].get("tls", [])] != [[host]]:
            yield f"{title(one)} has no TLS for {host}, or a default"
    for one in kind(objects, "HTTPRoute"):
        matches = [match["path"] for rule in one["spec"]["rules"] for match in rule.get("matches", [{"path": {}}])]
        wanted = [{"type": "Exact", "value": path} for path in public]
        if sorted(map(str, matches)) != sorted(map(str, wanted)):
            yield f"{title(one)} does not list the public paths"
        if one["spec"].get("hostnames") != [host]:
            yield f"{title(one)} is for {one['spec'].get('hostnames')}, and the issuer is {issuer}"


def secrets_are_files_alone(objects, facts):
    for one in kind(objects, "Secret"):
        yield f"{title(one)}: a Secret in the manifests would be a default"
    for one, template in templates(objects):
        for container in containers(template):
            if container.get("envFrom"):
                yield f"{title(one)}: envFrom"
            for variable in container.get("env", []):
                if "secretKeyRef" in variable.get("valueFrom", {}) or "postgres" in str(variable.get("value")):
                    yield f"{title(one)}: {variable['name']} holds a secret"
        for path, (_, mode, secret) in files(objects, template).items():
            if secret and mode != 0o440:
                yield f"{title(one)}: {path} has mode {mode:o}"


def everything_is_denied_that_is_not_allowed(objects, facts):
    policies = kind(objects, "NetworkPolicy")
    for one, template in templates(objects):
        closing = [p for p in policies
                   if sorted(p["spec"]["policyTypes"]) == ["Egress", "Ingress"]
                   and not p["spec"].get("ingress") and not p["spec"].get("egress")
                   and fits(p["spec"]["podSelector"].get("matchLabels"), labels(template))]
        if not closing:
            yield f"{title(one)}: no policy denies what is not allowed"


def who_needs_the_database_may_reach_it(objects, facts):
    policies = [p["spec"] for p in kind(objects, "NetworkPolicy")]
    for one, template in templates(objects):
        wants = any("JETON__DATABASE__URL_FILE" in environment(container) for container in containers(template))
        mine = [p for p in policies if fits(p["podSelector"].get("matchLabels"), labels(template))]
        open_to = {port["port"] for p in mine for rule in p.get("egress", []) for port in rule["ports"]}
        if wants and mine and not {53, 5432} <= open_to:
            yield f"{title(one)} may not reach names and Postgres"


def replicas_and_database_agree(objects, facts):
    scalers = {one["spec"]["scaleTargetRef"]["name"]: one for one in kind(objects, "HorizontalPodAutoscaler")}
    for one in kind(objects, "Deployment"):
        template, spec = one["spec"]["template"], one["spec"]
        embedded = any("persistentVolumeClaim" in v for v in template["spec"]["volumes"])
        scaler = scalers.pop(one["metadata"]["name"], None)
        strategy = spec["strategy"]
        if embedded:
            if spec.get("replicas") != 1 or strategy != {"type": "Recreate"} or scaler:
                yield f"{title(one)}: an embedded database is one process's"
            continue
        if strategy.get("rollingUpdate") != {"maxUnavailable": 0, "maxSurge": 1}:
            yield f"{title(one)}: a rollout takes a pod away before another is there"
        if ("replicas" in spec) == bool(scaler):
            yield f"{title(one)}: replicas are set by nobody, or twice"
        most = scaler["spec"]["maxReplicas"] if scaler else spec.get("replicas", 0)
        pool = int(environment(containers(template)[0]).get("JETON__DATABASE__POOL", POOL))
        # In a rollout each old pod keeps its connections while it drains, beside its successor's.
        if 2 * most * pool > POSTGRES_CONNECTIONS:
            yield f"{title(one)}: {most} replicas open more connections than Postgres allows by default"
        if (scaler["spec"]["minReplicas"] if scaler else spec.get("replicas", 0)) < 3:
            yield f"{title(one)}: fewer than three replicas"
        yield from survives_nodes(objects, one, template)
    yield from (f"{title(one)} scales nothing" for one in scalers.values())


def survives_nodes(objects, one, template):
    budgets = [b["spec"] for b in kind(objects, "PodDisruptionBudget")
               if fits(b["spec"]["selector"].get("matchLabels"), labels(template))]
    if [(b.get("maxUnavailable"), b.get("unhealthyPodEvictionPolicy")) for b in budgets] != [(1, "AlwaysAllow")]:
        yield f"{title(one)}: no disruption budget, or one that keeps nodes from being drained"
    spread = {s["topologyKey"]: s.get("matchLabelKeys") for s in
              template["spec"].get("topologySpreadConstraints", [])}
    wanted = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    if spread != {key: ["pod-template-hash"] for key in wanted}:
        yield f"{title(one)}: it is not spread over zones and nodes, each revision by itself"


def somebody_migrates_the_schema(objects, facts):
    jobs = [one for one in kind(objects, "Job")
            if containers(one["spec"]["template"])[0].get("args") == ["migrate"]]
    for one in kind(objects, "Deployment"):
        args = containers(one["spec"]["template"])[0]["args"]
        if ("--migrate" in args) == bool(jobs):
            yield f"{title(one)}: nobody migrates, or two do"
    for one in jobs:
        if "ttlSecondsAfterFinished" not in one["spec"]:
            yield f"{title(one)} stays, and a Job cannot be changed"


def the_toolbox_is_a_template_that_ends(objects, facts):
    """It holds every secret and has a shell: it never starts by itself, is forgotten by nobody, and what is
    written there is written to memory."""
    for one in kind(objects, "CronJob"):
        job = one["spec"]["jobTemplate"]["spec"]
        if one["spec"].get("suspend") is not True:
            yield f"{title(one)} starts by itself"
        if not job.get("activeDeadlineSeconds") or "ttlSecondsAfterFinished" not in job or job["backoffLimit"]:
            yield f"{title(one)}: what it starts does not end, or begins again"
        for container in containers(job["template"]):
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in job["template"]["spec"]["volumes"]}
            work = volumes.get(mounts.get(container.get("workingDir")), {}).get("emptyDir", {})
            if work.get("medium") != "Memory":
                yield f"{title(one)}: secrets would be written to a node's disk"
            variables, there = environment(container), files(objects, job["template"])
            for name in ("JETON__SECRETS__FILE", "JETON__DATABASE__URL_FILE"):
                where, _, file = variables.get(name, "").rpartition("/")
                if where != container["workingDir"] or f"/run/secrets/jeton/{file}" not in there:
                    yield f"{title(one)}: {name} is no copy of a secret"


def the_namespace_holds_us_to_it(objects, facts):
    for one in kind(objects, "Namespace"):
        if one["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{title(one)} does not enforce the restricted profile"


def objects_say_what_they_belong_to(objects, facts):
    for one in objects:
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "jeton":
            yield f"{title(one)} does not say that it is part of jeton"
    seen = [title(one) for one in objects]
    yield from (f"{one} occurs twice" for one in sorted({o for o in seen if seen.count(o) > 1}))


RULES = [
    selectors_pick_the_servers_pods, ports_that_are_named_exist,
    ports_are_those_that_the_server_listens_on, what_is_referred_to_exists,
    files_that_are_named_are_mounted, probes_ask_the_operations_listener,
    the_grace_is_longer_than_a_stop, resources_are_given, pods_are_restricted,
    the_image_is_one_and_pinned, operations_are_out_of_the_publics_reach,
    routes_list_the_public_paths_exactly, secrets_are_files_alone,
    everything_is_denied_that_is_not_allowed, who_needs_the_database_may_reach_it, replicas_and_database_agree,
    somebody_migrates_the_schema, the_toolbox_is_a_template_that_ends, the_namespace_holds_us_to_it,
    objects_say_what_they_belong_to,
]
