"""What the manifests promise, asked of the real binary: it is started as a pod would start it, with
the rendered configuration, and every port, path, probe and exit status is looked at.

usage: contract.py RENDERED.yaml    on the Postgres of JETON_TEST_DATABASE_URL, where one is wanted"""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import monitoring
from check import facts
from manifests import kind, load, ports, seconds, settings, templates
from sandbox import LOUD, SANDBOX, Container, free_ports, make_image

CANARY = "canary-in-a-secret-file"
CLIENT = """
[[resource]]
id = "https://api.example.com/"
[[client]]
id = "billing"
secret_file = "billing"
resources = ["https://api.example.com/"]
"""
BASIC = base64.b64encode(f"billing:{CANARY}".encode()).decode()
BILLING = {"Authorization": f"Basic {BASIC}", "Content-Type": "application/x-www-form-urlencoded"}


def ask(port, path, method="GET", form=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, form, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return None, ""
    finally:
        connection.close()


def must(holds, what, process=None):
    if not holds:
        sys.exit(f"{what}\n{process.said() if process else ''}")


def until(within, holds, what, process, pause=0.05):
    started = time.monotonic()
    while not holds():
        must(time.monotonic() - started < within and process.child.poll() is None, what, process)
        time.sleep(pause)


def secrets():
    """The Secret's keys; the root secret is made by the command that the README gives."""
    readme = Path("README.md").read_text(encoding="utf-8")
    command = re.search(r"^(.*) > root-secrets$", readme, re.M)
    must(command, "README.md no longer says how to make a root secret in a shell")
    made = subprocess.run(["sh", "-c", command[1]], check=True, stdout=subprocess.PIPE, text=True)
    url = os.environ.get("JETON_TEST_DATABASE_URL", "").replace("//postgres@", f"//postgres:{CANARY}@")
    return {"root-secrets": made.stdout, "database-url": url + "\n"}


class Contract:
    def __init__(self, objects, work):
        self.objects, self.work, self.facts = objects, work, facts()
        self.deployment = kind(objects, "Deployment")[0]
        self.template = self.deployment["spec"]["template"]
        self.jobs = kind(objects, "Job")
        self.secrets = secrets()
        self.issuer = next(one["data"]["issuer"] for one in kind(objects, "ConfigMap")
                           if "issuer" in one["data"])
        self.ports = ports(self.template) if SANDBOX else free_ports(ports(self.template))
        self.public, self.operations = self.ports["http"], self.ports["operations"]
        self.running, self.count = None, 0

    def container(self, template, held=None):
        self.count += 1
        return Container(self.work, f"pod-{self.count}", self.objects, template, held or self.secrets)

    def start(self, container):
        self.running = container.start(self.issuer, self.ports)
        return self.running

    def refuses(self, what, held, word):
        process = self.start(self.container(self.template, held))
        must(process.ended(30) == 78, f"it does not refuse to start {what}", process)
        must(word in process.said(), f"it does not say {word} when it starts {what}", process)

    def run(self):
        self.refuses("without a root secret", {**self.secrets, "root-secrets": None}, "root-secret"
                     if not self.jobs else "migrate")
        for job in self.jobs:
            self.refuses("before the schema was migrated", self.secrets, "jeton migrate")
            process = self.start(self.container(job["spec"]["template"]))
            must(process.ended(60) == 0, "the migration fails", process)
            self.refuses("without a root secret", {**self.secrets, "root-secrets": None}, "root-secret")
        self.refuses("with an empty root secret", {**self.secrets, "root-secrets": "\n"}, "root-secret")
        container = self.container(self.template)
        process = self.start(container)
        self.probes(process)
        self.paths(process)
        self.confined(process)
        self.changes_clients(container, process)
        self.watched(container, process)
        self.stops(container, process)
        if container.data:
            self.keeps_its_volume(container)
        for one, template in templates(self.objects):
            if one["kind"] == "CronJob" and SANDBOX:
                self.is_mended_in_the_toolbox(template)

    def probes(self, process):
        spec = self.template["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            get = spec[probe]["httpGet"]
            port = self.ports[get["port"]]
            patience = spec[probe]["periodSeconds"] * spec[probe]["failureThreshold"]
            until(min(patience, 30), lambda: ask(port, get["path"])[0] == 200, f"{probe} fails", process)

    def paths(self, process):
        for path in self.facts.public_paths:
            must(ask(self.public, path)[0] not in (None, 404), f"{path} is not on the public port", process)
            must(ask(self.operations, path)[0] == 404, f"{path} is on the operations port", process)
        for path in self.facts.operations_paths:
            must(ask(self.operations, path)[0] == 200, f"{path} is not on the operations port", process)
            must(ask(self.public, path)[0] == 404, f"{path} is on the public port", process)
        metadata = json.loads(ask(self.public, "/.well-known/openid-configuration")[1])
        must(metadata["issuer"] == self.issuer, "it is another issuer", process)

    def confined(self, process):
        """Its rights, and that no secret is in its environment, its arguments or its log."""
        proc = Path(f"/proc/{process.pid}")
        seen = [process.said(), (proc / "cmdline").read_text()]
        if os.access(proc / "environ", os.R_OK):
            seen.append((proc / "environ").read_text())
        root = self.secrets["root-secrets"].split()[1]
        must(not any(root in text or CANARY in text for text in seen), "a secret is where many can read it")
        if SANDBOX:
            status = dict(line.split(":\t") for line in (proc / "status").read_text().splitlines()
                          if ":\t" in line)
            must(int(status["CapEff"], 16) == 0 == int(status["CapBnd"], 16), "it has capabilities")
            must(status["NoNewPrivs"].strip() == "1", "it may gain privileges")
            must(status["NSpid"].split()[-1] == "1", "it is not number one")

    def changes_clients(self, container, process):
        """A changed ConfigMap and Secret are applied by the running server."""
        def token():
            form = "grant_type=client_credentials"
            return ask(self.public, "/oauth2/token", "POST", form, BILLING)[0]

        must(token() == 401, "a client is there before it was described", process)
        mount = container.mounts["/etc/jeton-clients"]
        mount.publish({"clients.toml": (CLIENT, 0o440), "billing": (CANARY, 0o440)})
        # Not so often that failures are limited.
        until(20, lambda: token() == 200, "a changed ConfigMap is not applied", process, 0.5)
        must(CANARY not in process.said(), "a client secret is in the log")

    def watched(self, container, process):
        """What alerts and panels ask for is there; on one of the two a real Prometheus shows it."""
        wrong = list(monitoring.scrape_complaints(ask(self.operations, "/metrics")[1]))
        must(not wrong, "\n".join(wrong))
        if container.data:
            port = free_ports(["prometheus"])["prometheus"]
            empty = monitoring.empty_panels(f"127.0.0.1:{self.operations}", port, self.uses_it)
            must(not empty, f"panels that show nothing: {empty}", process)

    def uses_it(self):
        """A token, and a refusal that no budget counts: a share of nothing is no number."""
        for form in ("grant_type=client_credentials", "grant_type=client_credentials&scope=unknown"):
            ask(self.public, "/oauth2/token", "POST", form, BILLING)

    def stops(self, container, process):
        """Unready at once, serving for the drain delay, gone with 0 within the grace."""
        delay = seconds(settings(self.objects, self.template, container.container)["server"]["drain_delay"])
        started = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        until(2, lambda: ask(self.operations, "/healthz/ready")[0] == 503, "it stays ready", process)
        while time.monotonic() - started < delay - 1:
            must(ask(self.public, "/.well-known/jwks.json")[0] == 200, "it stops serving at once", process)
            time.sleep(0.5)
        left = self.template["spec"]["terminationGracePeriodSeconds"] - (time.monotonic() - started)
        must(process.ended(max(left, 0)) == 0, "SIGTERM is not answered by 0", process)

    def keeps_its_volume(self, container):
        kids = [row.name for row in container.data[1].iterdir()]
        must("jeton.db" in kids, "the database is not on the volume")
        self.starts_again(container)

    def starts_again(self, container):
        process = self.start(container)
        self.probes(process)
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGTERM)
        must(process.ended(15) == 0, "a second signal does not stop it at once", process)
        return process

    def is_mended_in_the_toolbox(self, template):
        """Commands that no server's pod can run: by the runbooks' own way back into the Secret, the server
        starts with a root secret that was added there."""
        book = Path("docs/runbooks/README.md").read_text(encoding="utf-8")
        back = re.search(r"exec job/toolbox -- bash -c '(printf .*?)' *\\?\n", book)
        must(back, "docs/runbooks/README.md no longer says how a file gets back into the Secret")
        script = (f"jeton secrets add && jeton secrets promote 2 && jeton apply -f clients.toml --dry-run"
                  f" && pg_dump --format=custom \"$(cat database-url)\" >/tmp/dump && pg_restore --list /tmp/dump"
                  f" && test -w database-url && echo && {back[1]}")
        toolbox = self.container(template)
        toolbox.container = {**toolbox.container, "args": ["bash", "-euo", "pipefail", "-c", script]}
        process = self.start(toolbox)
        must(process.ended(30) == 0, "a command fails in the toolbox", process)
        patch = json.loads(process.said().splitlines()[-1])["data"]["root-secrets"]
        changed = base64.b64decode(patch).decode()
        must(changed.startswith("2 ") and self.secrets["root-secrets"].strip() in changed,
             "the toolbox gives back another file", process)
        self.starts_again(self.container(self.template, {**self.secrets, "root-secrets": changed}))



def main():
    if not SANDBOX:
        print(LOUD, file=sys.stderr)
    objects = load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    work = Path(tempfile.mkdtemp(prefix="jeton-pod."))
    work.chmod(0o755)
    contract = None
    try:
        make_image(work)
        contract = Contract(objects, work)
        contract.run()
    finally:
        if contract and contract.running:
            contract.running.kill()
        shutil.rmtree(work)
    print(f"{Path(sys.argv[1]).stem}: the binary keeps what the manifests promise"
          f"{', in a sandbox like the pod' if SANDBOX else ''}")


if __name__ == "__main__":
    main()
