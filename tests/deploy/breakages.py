"""Each rule is broken on purpose, to see it fail: a rule that nothing can break proves nothing."""

import copy

import rules
import same
import schemas
from manifests import containers, kind, named


def server(objects):
    return kind(objects, "Deployment")[0]


def pod(objects):
    return server(objects)["spec"]["template"]


def container(objects):
    return containers(pod(objects))[0]


def secret_volume(objects):
    return next(one["secret"] for one in pod(objects)["spec"]["volumes"] if "secret" in one)


def rename(container_, old, new):
    next(one for one in container_["env"] if one["name"] == old)["value"] = new


def settings(objects, old, new):
    config = next(one for one in kind(objects, "ConfigMap") if "jeton.toml" in one["data"])
    assert old in config["data"]["jeton.toml"], old
    config["data"]["jeton.toml"] = config["data"]["jeton.toml"].replace(old, new)


def policy(objects, name):
    return named(objects, "NetworkPolicy", name)["spec"]


def toolbox(objects):
    return kind(objects, "CronJob")[0]["spec"]["jobTemplate"]["spec"]


def secret_variable(o):
    container(o)["env"].append({"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})


# Of the manifests with everything in them.
BREAKAGES = [
    (rules.selectors_pick_the_servers_pods, lambda o: pod(o)["metadata"]["labels"].update(
        {"app.kubernetes.io/component": "x"})),
    (rules.selectors_pick_the_servers_pods, lambda o: kind(o, "PodMonitor")[0]["spec"]["selector"][
        "matchLabels"].update({"app.kubernetes.io/name": "x"})),
    (rules.selectors_pick_the_servers_pods, lambda o: named(o, "Service", "jeton")["spec"][
        "selector"].pop("app.kubernetes.io/component")),
    (rules.ports_that_are_named_exist, lambda o: container(o)["ports"][0].update(name="web")),
    (rules.ports_that_are_named_exist, lambda o: policy(o, "jeton-public")["ingress"][0]["ports"][0].update(
        port="htpt")),
    (rules.ports_that_are_named_exist, lambda o: kind(o, "HTTPRoute")[0]["spec"]["rules"][0][
        "backendRefs"][0].update(port=8080)),
    (rules.ports_are_those_that_the_server_listens_on, lambda o: settings(o, ":8080", ":8081")),
    (rules.what_is_referred_to_exists, lambda o: o.remove(named(o, "ServiceAccount", "jeton"))),
    (rules.what_is_referred_to_exists, lambda o: o.remove(named(o, "ConfigMap", "jeton-clients"))),
    (rules.what_is_referred_to_exists, lambda o: named(o, "ConfigMap", "jeton-issuer").update(data={"x": ""})),
    (rules.what_is_referred_to_exists, lambda o: secret_volume(o)["items"][0].update(
        key="root_secrets")),
    (rules.files_that_are_named_are_mounted, lambda o: rename(
        container(o), "JETON__DATABASE__URL_FILE", "/run/secrets/database-url")),
    (rules.files_that_are_named_are_mounted, lambda o: settings(o, "/root-secrets", "/rootsecrets")),
    (rules.probes_ask_the_operations_listener, lambda o: container(o)["readinessProbe"]["httpGet"].update(
        path="/healthz/live")),
    (rules.probes_ask_the_operations_listener, lambda o: container(o)["livenessProbe"]["httpGet"].update(
        port="http")),
    (rules.probes_ask_the_operations_listener, lambda o: container(o)["startupProbe"].update(
        failureThreshold=30)),
    (rules.the_grace_is_longer_than_a_stop, lambda o: pod(o)["spec"].update(
        terminationGracePeriodSeconds=35)),
    (rules.the_grace_is_longer_than_a_stop, lambda o: settings(o, '"10s"', '"60s"')),
    (rules.resources_are_given, lambda o: container(o)["resources"]["limits"].update(cpu=1)),
    (rules.resources_are_given, lambda o: container(o)["resources"].pop("requests")),
    (rules.pods_are_restricted, lambda o: container(o).pop("securityContext")),
    (rules.pods_are_restricted, lambda o: kind(o, "Job")[0]["spec"]["template"]["spec"][
        "securityContext"].pop("seccompProfile")),
    (rules.pods_are_restricted, lambda o: pod(o)["spec"].pop("automountServiceAccountToken")),
    (rules.the_image_is_one_and_pinned, lambda o: container(o).update(image="registry.example.com/jeton:2")),
    (rules.operations_are_out_of_the_publics_reach, lambda o: named(o, "Service", "jeton")["spec"][
        "ports"][0].update(targetPort="operations")),
    (rules.operations_are_out_of_the_publics_reach, lambda o: named(o, "Service", "jeton")["spec"].update(
        type="LoadBalancer")),
    (rules.operations_are_out_of_the_publics_reach, lambda o: kind(o, "HTTPRoute")[0]["spec"]["rules"][0][
        "backendRefs"][0].update(name="jeton-operations")),
    (rules.operations_are_out_of_the_publics_reach, lambda o: policy(o, "jeton-public")["ingress"][0][
        "ports"].append({"port": "operations"})),
    (rules.operations_are_out_of_the_publics_reach, lambda o: policy(o, "jeton-operations")["ingress"][
        0].pop("from")),
    (rules.routes_list_the_public_paths_exactly, lambda o: kind(o, "Ingress")[0]["spec"]["rules"][0]["http"][
        "paths"].append({"path": "/metrics", "pathType": "Exact", "backend": {}})),
    (rules.routes_list_the_public_paths_exactly, lambda o: kind(o, "Ingress")[0]["spec"]["rules"][0]["http"][
        "paths"][0].update(pathType="Prefix")),
    (rules.routes_list_the_public_paths_exactly, lambda o: next(
        path for path in kind(o, "Ingress")[0]["spec"]["rules"][0]["http"]["paths"] if "." in path["path"]
    ).update(pathType="Exact")),
    (rules.routes_list_the_public_paths_exactly, lambda o: kind(o, "HTTPRoute")[0]["spec"]["rules"][0][
        "matches"].pop()),
    (rules.routes_list_the_public_paths_exactly, lambda o: kind(o, "HTTPRoute")[0]["spec"].update(
        hostnames=["other.example.com"])),
    (rules.secrets_are_files_alone, secret_variable),
    (rules.secrets_are_files_alone, lambda o: secret_volume(o).pop("defaultMode")),
    (rules.secrets_are_files_alone, lambda o: o.append({"kind": "Secret", "metadata": {"name": "x"}})),
    (rules.everything_is_denied_that_is_not_allowed, lambda o: policy(o, "jeton-default-deny").update(
        policyTypes=["Ingress"])),
    (rules.who_needs_the_database_may_reach_it, lambda o: policy(o, "jeton-egress")["podSelector"][
        "matchLabels"].update({"app.kubernetes.io/component": "server"})),
    (rules.replicas_and_database_agree, lambda o: server(o)["spec"].update(replicas=3)),
    (rules.replicas_and_database_agree, lambda o: kind(o, "HorizontalPodAutoscaler")[0]["spec"].update(
        maxReplicas=6)),
    (rules.replicas_and_database_agree, lambda o: rename(container(o), "JETON__DATABASE__POOL", "16")),
    (rules.replicas_and_database_agree, lambda o: kind(o, "PodDisruptionBudget")[0]["spec"].pop(
        "unhealthyPodEvictionPolicy")),
    (rules.replicas_and_database_agree, lambda o: pod(o)["spec"]["topologySpreadConstraints"].pop()),
    (rules.replicas_and_database_agree, lambda o: pod(o)["spec"]["volumes"].append(
        {"name": "data", "persistentVolumeClaim": {"claimName": "x"}})),
    (rules.somebody_migrates_the_schema, lambda o: o.remove(kind(o, "Job")[0])),
    (rules.the_toolbox_is_a_template_that_ends, lambda o: kind(o, "CronJob")[0]["spec"].pop("suspend")),
    (rules.the_toolbox_is_a_template_that_ends, lambda o: toolbox(o).pop("activeDeadlineSeconds")),
    (rules.the_toolbox_is_a_template_that_ends, lambda o: next(
        one["emptyDir"] for one in toolbox(o)["template"]["spec"]["volumes"] if one["name"] == "work"
    ).pop("medium")),
    (rules.the_toolbox_is_a_template_that_ends, lambda o: rename(
        containers(toolbox(o)["template"])[0], "JETON__SECRETS__FILE", "/run/secrets/jeton/root-secrets")),
    (rules.pods_are_restricted, lambda o: containers(toolbox(o)["template"])[0]["securityContext"].pop(
        "readOnlyRootFilesystem")),
    (rules.the_image_is_one_and_pinned, lambda o: containers(toolbox(o)["template"])[0].update(
        image="registry.example.com/jeton-toolbox:0.0.9")),
    (rules.everything_is_denied_that_is_not_allowed, lambda o: toolbox(o)["template"]["metadata"][
        "labels"].pop("app.kubernetes.io/name")),
    (rules.the_namespace_holds_us_to_it, lambda o: o.append(
        {"kind": "Namespace", "metadata": {"name": "jeton", "labels": {}}})),
    (rules.objects_say_what_they_belong_to, lambda o: o.append(o[0])),
]

SCHEMA_BREAKAGES = [
    lambda o: server(o)["spec"].update(replica=3),
    lambda o: container(o)["startupProbe"].update(periodSeconds="two"),
    lambda o: server(o).update(apiVersion="extensions/v1beta1"),
    lambda o: kind(o, "PodMonitor")[0]["spec"].update(podMetricEndpoints=[]),
    lambda o: kind(o, "PrometheusRule")[0]["spec"]["groups"][0]["rules"][0].update(exp="x"),
    lambda o: kind(o, "HTTPRoute")[0]["spec"]["rules"][0].update(backendRef=[]),
    lambda o: kind(o, "ExternalSecret")[0]["spec"]["data"][0].update(secretkey="x"),
]


def unnoticed(objects, facts):
    """Breakages that nothing noticed, and rules that were never broken."""
    for number, (rule, breaks) in enumerate(BREAKAGES):
        broken = copy.deepcopy(objects)
        breaks(broken)
        if not list(rule(broken, facts)):
            yield f"breakage {number} is not noticed by {rule.__name__}"
    for number, breaks in enumerate(SCHEMA_BREAKAGES):
        broken = copy.deepcopy(objects)
        breaks(broken)
        changed = [one for one, whole in zip(broken, objects) if one != whole]
        if not any(schemas.complaints(one) for one in changed):
            yield f"breakage {number} is not noticed by any schema"
    broken = copy.deepcopy(objects)
    container(broken)["args"] = ["serve"]
    if not list(same.differences(objects, broken)):
        yield "two renderings that differ are called the same"
    never = set(rules.RULES) - {rule for rule, _ in BREAKAGES}
    yield from (f"{rule.__name__} was never broken" for rule in never)
