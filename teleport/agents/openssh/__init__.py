"""Guards hosts that run only OpenSSH's sshd, from beside a proxy: the SSH of clients ends here, and goes on from here.

`server` serves one connection of a client, as an agent does (`agents.ssh` does the work: audit, recording, live
sessions, every condition); `way_in` obtains a certificate for the host against the client's own login, and connects;
`running` is a session on the host, `ends` what is forwarded there. Whoever runs this sees what is said: plaintext.
"""
