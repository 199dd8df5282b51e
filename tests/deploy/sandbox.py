"""A container as its manifest describes it, run by bubblewrap: its user, a read-only root, no
capabilities, a process namespace in which it is number one, and no file but the image's and what is
mounted.

Where bubblewrap cannot run, a plain process with the same files, on free ports; `LOUD` says so."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from manifests import containers, environment, files

SANDBOX = os.environ.get("JETON_SANDBOX") == "bubblewrap"
LOUD = "!! WITHOUT A SANDBOX: bubblewrap cannot run here, so the pod is a plain process with the same files"
USER = "65532"


def by_root():
    return os.geteuid() == 0


class Mount:
    """A mounted directory, swapped as the kubelet does it: a link names the present version."""

    def __init__(self, path):
        self.path, self.version = path, 0
        path.mkdir(parents=True)
        path.chmod(0o755)

    def publish(self, contents):
        """Takes name → (text, mode)."""
        self.version += 1
        version = self.path / f"..{self.version}"
        version.mkdir(mode=0o755)
        for name, (text, mode) in contents.items():
            file = version / name
            file.write_text(text, encoding="utf-8")
            file.chmod(mode)
            if by_root():
                os.chown(file, 0, int(USER))
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        link = self.path / "..next"
        link.symlink_to(version.name)
        link.rename(self.path / "..data")


class Container:
    """The only container of a pod, with its volumes on disk."""

    def __init__(self, work, name, objects, template, secrets):
        self.work, self.name = work, name
        self.container = containers(template)[0]
        self.spec = template["spec"]
        self.mounts, contents = {}, {}
        for path, (text, mode, secret) in files(objects, template).items():
            where, _, file = path.rpartition("/")
            if secret:
                text = secrets[secret[1]]
            # `None`: this secret is missing, as it is before somebody has made it.
            contents.setdefault(where, {})
            if text is not None:
                contents[where][file] = (text, mode)
        for number, (where, held) in enumerate(contents.items()):
            self.mounts[where] = Mount(work / name / str(number))
            self.mounts[where].publish(held)
        self.contents = contents
        self.data = self.volume()
        empty = {one["name"] for one in self.spec["volumes"] if "emptyDir" in one}
        self.empty = [mount["mountPath"] for mount in self.container["volumeMounts"] if mount["name"] in empty]

    def volume(self):
        """The volume that may be written to, if there is one."""
        claims = {one["name"] for one in self.spec["volumes"] if "persistentVolumeClaim" in one}
        for mount in self.container["volumeMounts"]:
            if mount["name"] in claims:
                path = self.work / mount["name"]
                path.mkdir(mode=0o770, exist_ok=True)
                if by_root():
                    os.chown(path, 0, int(USER))
                path.chmod(0o2770)
                return mount["mountPath"], path
        return None

    def variables(self, issuer):
        found = environment(self.container)
        return {name: issuer if name == "JETON__ISSUER" else value for name, value in found.items()}

    def start(self, issuer, ports):
        command, variables, keep = self.command(issuer, ports)
        log = open(self.work / f"{self.name}.log", "a", encoding="utf-8")
        return Process(subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=keep,
            cwd="/"), Path(log.name), keep)

    def command(self, issuer, ports):
        args = [str(arg) for arg in self.container["args"]]
        if not SANDBOX:
            return self.plain(args, issuer, ports)
        reads, writes = os.pipe()
        command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if by_root() else []
        command += [
            "bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1",
            "--uid", USER, "--gid", USER, "--cap-drop", "ALL", "--die-with-parent", "--new-session",
            "--clearenv", "--info-fd", str(writes), "--proc", "/proc", "--dev", "/dev",
        ]
        # One by one, and not as the root: below /etc and /run there are mounts to come.
        image = self.work / "image"
        parts = [f"etc/{one.name}" for one in (image / "etc").iterdir()]
        own = self.container.get("command")
        parts += [] if own else ["usr/bin", "lib", "lib64"]
        for part in parts:
            command += ["--ro-bind-try", str(image / part), f"/{part}"]
        if own:
            command += self.with_a_shell(image)
        for where in self.empty:
            command += ["--tmpfs", where]
        for where, mount in self.mounts.items():
            command += ["--ro-bind", str(mount.path), where]
        if self.data:
            command += ["--bind", str(self.data[1]), self.data[0]]
        for name, value in self.variables(issuer).items():
            command += ["--setenv", name, value]
        command += ["--remount-ro", "/", "--chdir", self.container.get("workingDir", "/")]
        command += [*(own or ["/usr/bin/jeton"]), *args]
        return command, dict(os.environ), (reads, writes)

    @staticmethod
    def with_a_shell(image):
        """In place of an image that has more than the binary: what this machine has."""
        done = subprocess.run(["tests/postgres", "bin"], check=True, stdout=subprocess.PIPE, text=True)
        rights = [word for part in ("/usr", "/bin", "/lib", "/lib64") for word in ("--ro-bind-try", part, part)]
        return [*rights, "--ro-bind", str(image / "usr/bin"), "/opt/jeton",
                "--setenv", "PATH", f"/opt/jeton:{done.stdout.strip()}:/usr/bin:/bin"]

    def plain(self, args, issuer, ports):
        """Mounts are directories elsewhere, so every path is rewritten; ports are free ones."""
        where = {path: str(mount.path) for path, mount in self.mounts.items()}
        if self.data:
            where[self.data[0]] = str(self.data[1])

        def moved(text):
            for path, real in where.items():
                text = re.sub(rf"{re.escape(path)}(?=/|$)", real, text)
            return text

        for path, held in self.contents.items():
            self.mounts[path].publish({name: (moved(text), mode) for name, (text, mode) in held.items()})
        variables = {name: moved(value) for name, value in self.variables(issuer).items()}
        variables["JETON__SERVER__PUBLIC"] = f"127.0.0.1:{ports['http']}"
        variables["JETON__SERVER__OPERATIONS"] = f"127.0.0.1:{ports['operations']}"
        return [str(self.work / "image/usr/bin/jeton"), *map(moved, args)], variables, ()


class Process:
    """What was started. `pid` is the server's own, seen from out here."""

    def __init__(self, child, log, pipe):
        self.child, self.log, self.pid = child, log, child.pid
        if pipe:
            os.close(pipe[1])
            with os.fdopen(pipe[0], encoding="utf-8") as info:
                text = info.read()
            # Without an answer bubblewrap has ended already, and its log says why.
            self.pid = json.loads(text)["child-pid"] if text else child.pid

    def said(self):
        return self.log.read_text(encoding="utf-8")

    def ended(self, within):
        try:
            return self.child.wait(within)
        except subprocess.TimeoutExpired:
            sys.exit(f"still running after {within} s:\n{self.said()}")

    def kill(self):
        if self.child.poll() is None:
            os.kill(self.pid, 9)
            self.child.kill()
            self.child.wait()


def free_ports(names):
    """Those of the manifests may be taken where there is no network of our own."""
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    found = {name: one.getsockname()[1] for name, one in sockets.items()}
    for one in sockets.values():
        one.close()
    return found


def make_image(work):
    """What the image would hold, made as its build makes it."""
    subprocess.run(["deploy/image-root", "target/debug/jeton", str(work / "image")], check=True)
