"""Folders of policy for tests of what works offline."""

from pathlib import Path

__all__ = ["ANN", "DEV", "FREEZE", "HOSTS", "folder"]

DEV = """\
kind: role
version: v7
metadata: {name: dev}
spec:
  allow:
    logins: ["{{internal.logins}}", deploy]
    node_labels: {env: [dev, staging]}
"""
FREEZE = """\
kind: role
version: v7
metadata: {name: freeze}
spec:
  deny:
    node_labels: {env: prod}
"""
ANN = """\
kind: user
version: v2
metadata: {name: ann}
spec: {roles: [dev, access], traits: {logins: [ann]}}
"""
HOSTS = """\
kind: node
version: v2
metadata: {name: uuid-1, labels: {env: dev}}
spec: {hostname: db-1}
---
kind: node
version: v2
metadata: {name: db-2, labels: {env: prod}}
"""


def folder(path: Path, **documents: str) -> str:
    """A folder in which each document stands in a file of that name."""
    for name, text in documents.items():
        (path / f"{name}.yaml").write_text(text)
    return str(path)
