"""`make demo`: a one-node cluster on loopback, governed by a working copy of the example policies.

Prints three commands that enrol the person who ran it, log in, and open a session on this very machine; stays in
the foreground until interrupted. Everything lies in .demo/, which each run starts anew.
"""

import contextlib
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from teleport.core.errors import TeleportError
from teleport.core.output import complain
from teleport.store.lock import lock_directory

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
BIN = Path(sys.executable).parent
PORT = 3080

ROLES = "developer, sandbox"
USER = """\
# yaml-language-server: $schema=../../../schemas/user.json
# You. Edit roles or traits and watch a running session obey; everything the cluster is told is in this folder.
kind: user
version: v2
metadata:
  name: "{name}"
spec:
  roles: [{roles}]
  traits:
    logins: ["{name}"]
"""


def main() -> int:
    me = pwd.getpwuid(os.geteuid()).pw_name
    try:
        mine = lay_out(me)
    except TeleportError as error:
        return complain("demo", error)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    cluster = subprocess.Popen(
        [BIN / "teleport", "start", "--demo", "--policies", DEMO / "policies", "--data-dir", DEMO / "data",
         "--cluster-name", "demo", "--listen", f"127.0.0.1:{free_port()}"],
        stdout=subprocess.PIPE, stderr=(DEMO / "log").open("w"), text=True, start_new_session=True,
    )  # fmt: skip
    try:
        return follow(cluster, me, mine)
    except KeyboardInterrupt:
        print("\nThe demo ends.", flush=True)
        return 0
    finally:
        end(cluster)


def follow(cluster: "subprocess.Popen[str]", me: str, mine: Path) -> int:
    """Tell how to use it once it is ready, and wait until it ends by itself."""
    assert cluster.stdout is not None
    ready = cluster.stdout.readline()
    if not ready.startswith("ready:"):
        sys.stderr.write((DEMO / "log").read_text())
        return cluster.wait() or 1
    say(ready, me, mine)
    return cluster.wait()


def end(cluster: "subprocess.Popen[str]") -> None:
    """Stop it; the second time it is told, it waits for no session that is still open."""
    for _ in range(2):
        cluster.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            cluster.wait(1)
            return
    cluster.wait()


def lay_out(me: str) -> Path:
    """A fresh working copy of the example policies, and in it the file of the person who runs the demo.

    Raises Unavailable where a demo runs here already.
    """
    if (DEMO / "data").is_dir():
        lock_directory(DEMO / "data").close()
    shutil.rmtree(DEMO, ignore_errors=True)
    policies = DEMO / "policies"
    shutil.copytree(ROOT / "examples" / "policies", policies)
    mine = policies / "users" / f"{me}.yaml"
    mine.write_text(USER.format(name=me, roles=ROLES))
    return mine


def free_port() -> int:
    """3080, or another port if something listens there."""
    for wanted in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("no port on 127.0.0.1 is free")


def say(ready: str, me: str, mine: Path) -> None:
    invitation = json.loads(
        subprocess.run(
            [BIN / "tctl", "--data-dir", DEMO / "data", "users", "invite", me, "--ttl", "48h", "-o", "json"],
            check=True, capture_output=True, text=True,
        ).stdout
    )  # fmt: skip
    proxy, pin, host = invitation["proxy_address"], invitation["ca_pins"][0], socket.gethostname()
    tsh, tctl, data, file, rules, log = (
        shlex.quote(str(path))
        for path in (BIN / "tsh", BIN / "tctl", DEMO / "data", mine, DEMO / "policies" / "README.md", DEMO / "log")
    )
    print(ready)
    print(
        f"""\
Open a second terminal and paste these three, one after the other:

1. Set a password and a second factor (any authenticator app; the code is asked for once):

  {tsh} enrol --proxy {proxy} --token {invitation["token"]} --ca-pin {pin}

2. Log in with them:

  {tsh} login --proxy {proxy} --user {me} --ca-pin {pin}

3. Open a shell on this machine, through the proxy, recorded:

  {tsh} ssh {me}@{host}

Then, with that shell open, edit {file}:
take the role sandbox away, and watch the shell end, with the reason. Give it back, and step 3 works again, without a
new login.

What happened:  {tctl} --data-dir {data} audit search
What was shown: {tsh} recordings ls
The rules:      {rules}
The log:        {log}
Ctrl-C ends the demo.
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
