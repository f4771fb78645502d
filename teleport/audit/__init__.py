"""What happened, written down so that changes to the writing show.

`events` is the typed catalogue; `log` the hash-chained files at the auth service with signed checkpoints;
`spool` what an agent keeps until auth has it; `recording` the bytes of sessions. Knows no policy.
"""
