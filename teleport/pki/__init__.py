"""Keys and certificates: `authority` holds key sets, `credentials` puts identities into certificates and reads them.

Knows no users and no policy: what goes into a certificate is decided by whoever calls.
"""
