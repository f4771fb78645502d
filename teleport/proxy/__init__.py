"""The proxy: one TLS port, behind which it routes, judges and cuts.

`listener` looks at first bytes and hands sockets on; `relay` takes clients to hosts; `ssh` serves those who jump to
them with plain `ssh -J`; `tunnels` keeps the agents' control connections; `web` serves browsers and clients that have
no certificate yet; `leaves` takes users into other clusters, `entrance` takes theirs in. It sees no SSH plaintext
towards agents, stores nothing, and can issue nothing by itself.
"""
