"""Keys and certificates: `authority` holds key sets, `credentials` puts identities into certificates and reads them.

`foreign` is what is kept of another cluster, `passages` let one user into it for one connection.

Knows no users and no policy: what goes into a certificate is decided by whoever calls.
"""
