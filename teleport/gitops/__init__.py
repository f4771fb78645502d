"""Policy from outside: sources say what should be, `plan` says what would change, `loop` makes it so.

`folder` and `revision` read what is declared, in a folder or in a commit; they agree in what counts. `git` follows a
branch: `mirror` fetches it, `signatures` say whose commits count, `mark` how far it came; `program` bounds all of it.
`history` tells from commits what was in force when, and because of which.

`manifests` are those of a namespace of Kubernetes, which come into force object by object: `partial` says how far that
goes, `piecemeal` what a refusal is blamed on.

Before a change lands it is put before checks (`review`); `policytest` is the one of tests and invariants, and
`weakened` tells which of these a change takes something from.

Knows no Kubernetes client and no HTTP. Writing is done by whoever implements `PolicyService`; a set that does not
load or is refused changes nothing.
"""
