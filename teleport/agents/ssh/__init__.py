"""The SSH server of a host: authenticates certificates, asks the gate, and runs everything as the login's own user.

`server` serves one connection, `channel` one session on it; `process` and `child` run programs, `spawning` and
`spawner` begin them, `reaping` and `reaper` end what still runs when the agent is killed; `terminal` is the PTY;
`recorded` the audit and recording of a session, `files` and `copies` what it does to files. `live` knows which
sessions can be looked at, `observer` is the channel of somebody who looks on. `forwarding` is what one connection
forwards, `carried` a single forwarded connection, `endpoints` and `forwarder` the child that holds the sockets. What
proxies share of it lies below both: `net.asyncssh_seams`, `pki.ssh_login` and `wire.ssh_forwarding`.
"""
