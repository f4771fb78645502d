"""Campaigns against a running cluster: processes are killed under load, and what is then true is held against a model.

`spread` starts the processes, `crowd` has sessions on their hosts, `ledger` reads what was written down, `campaign`
kills and judges. `make faults` runs the whole of it; a few rounds belong to the end-to-end tests.
"""
