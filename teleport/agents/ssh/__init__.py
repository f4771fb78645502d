"""The SSH server of a host: authenticates certificates, asks the gate, and runs everything as the login's own user.

`server` serves one connection, `channel` one session on it; `process` and `child` run programs; `terminal` is the
PTY; `forwarding` what is forwarded on a connection, `endpoints` and `forwarder` the child that holds its sockets,
`carried` one forwarded connection; `recorded` the audit and recording of a session; `asyncssh_seams` every touch of asyncssh's internals.
"""
