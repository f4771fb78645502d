"""`make demo-trust`: two clusters on loopback, of which the workshop trusts headquarters' people.

Each is governed by a working copy of its folder in examples/trust. Prints the commands to try; stays in the foreground
until interrupted. Everything lies in .demo-trust/, which each run starts anew.
"""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from demo import BIN, ROOT, end

DEMO = ROOT / ".demo-trust"
ROOT_NAME, LEAF_NAME = "headquarters", "workshop"
USER = """\
# yaml-language-server: $schema=../../../../schemas/user.json
# You. Take the role away, and what you have open in the workshop ends.
kind: user
version: v2
metadata:
  name: "{name}"
spec:
  roles: [support]
  traits:
    logins: ["{name}"]
"""


@dataclass
class Cluster:
    """One of the two."""

    name: str
    program: "subprocess.Popen[str]"
    proxy: str = ""
    pin: str = ""

    @property
    def folder(self) -> Path:
        return DEMO / self.name

    def tctl(self, *words: str) -> str:
        command = [BIN / "tctl", "--data-dir", self.folder / "data", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def start(name: str, node: str) -> Cluster:
    """A cluster that is ready. Raises SystemExit, having shown its log, if it is not."""
    folder = DEMO / name
    with (folder / "log").open("w") as log:
        program = subprocess.Popen(
            [BIN / "teleport", "start", "--demo", "--policies", folder / "policies", "--data-dir", folder / "data",
             "--cluster-name", name, "--nodename", node, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
        )  # fmt: skip
    assert program.stdout is not None
    match = re.match(r"ready: https://(\S+) cluster \S+ ca-pin (\S+)", program.stdout.readline())
    if match is None:
        sys.stderr.write((folder / "log").read_text())
        raise SystemExit(program.wait() or 1)
    return Cluster(name, program, match[1], match[2])


def lay_out(me: str) -> None:
    """Working copies of both folders; in headquarters' the person who runs this."""
    shutil.rmtree(DEMO, ignore_errors=True)
    for name in (ROOT_NAME, LEAF_NAME):
        shutil.copytree(ROOT / "examples" / "trust" / name, DEMO / name / "policies")
    (DEMO / LEAF_NAME / "data" / "secrets").mkdir(parents=True, mode=0o700)
    (DEMO / LEAF_NAME / "data").chmod(0o700)
    users = DEMO / ROOT_NAME / "policies" / "users"
    users.mkdir()
    (users / f"{me}.yaml").write_text(USER.format(name=me))


def trust(root: Cluster) -> None:
    """Put address, pin and token of headquarters where the workshop's declaration has them."""
    made = json.loads(root.tctl("tokens", "add", "--type", "trusted_cluster", "--ttl", "1h", "-o", "json"))
    secret = DEMO / LEAF_NAME / "data" / "secrets" / ROOT_NAME
    secret.write_text(made["token"])
    secret.chmod(0o600)
    declared = DEMO / LEAF_NAME / "policies" / "trusted_clusters" / f"{ROOT_NAME}.yaml"
    text = declared.read_text().replace("headquarters.example.com:443", root.proxy)
    text = re.sub(r"sha256:0+", root.pin, text).replace(f"/var/lib/teleport/secrets/{ROOT_NAME}", str(secret))
    declared.write_text(text)


def say(root: Cluster, me: str) -> None:
    invitation = json.loads(root.tctl("users", "invite", me, "-o", "json"))
    tsh, tctl = BIN / "tsh", BIN / "tctl"
    workshop = DEMO / LEAF_NAME
    print(
        f"""\
Two clusters run: {ROOT_NAME} at {root.proxy}, and {LEAF_NAME}, which trusts its people. Open a second terminal.

1. Set a password and a second factor at {ROOT_NAME}, and log in there; nowhere else:

  {tsh} enrol --proxy {root.proxy} --token {invitation["token"]} --ca-pin {root.pin}
  {tsh} login --proxy {root.proxy} --user {me} --ca-pin {root.pin}

2. See where you can go, and what is there:

  {tsh} clusters
  {tsh} ls --cluster {LEAF_NAME}

3. Open a shell on the workshop's host, through both proxies, recorded over there:

  {tsh} ssh --cluster {LEAF_NAME} {me}@bench-1

Then, with that shell open, edit either of these and watch it end:

  {workshop}/policies/trusted_clusters/{ROOT_NAME}.yaml   (enabled: no, or another role_map)
  {root.folder}/policies/remote_clusters/{LEAF_NAME}.yaml   (another label)

Both sides tell it, each in its own words:

  {tctl} --data-dir {root.folder}/data audit search
  {tctl} --data-dir {workshop}/data audit search
  {tctl} --data-dir {workshop}/data get trusted_cluster

Ctrl-C ends the demo.
""",
        flush=True,
    )


def main() -> int:
    me = pwd.getpwuid(os.geteuid()).pw_name
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    lay_out(me)
    running: list[Cluster] = []
    try:
        running.append(start(ROOT_NAME, "desk-1"))
        trust(running[0])
        running.append(start(LEAF_NAME, "bench-1"))
        say(running[0], me)
        return running[0].program.wait()
    except KeyboardInterrupt:
        print("\nThe demo ends.", flush=True)
        return 0
    finally:
        for cluster in reversed(running):
            end(cluster.program)


if __name__ == "__main__":
    sys.exit(main())
