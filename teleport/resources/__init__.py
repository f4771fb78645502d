"""What should be: one frozen model per kind, read from YAML with positions, rendered to schemas and YAML.

`model` holds the envelope, `KINDS` the registry; every other module is one kind or one way in or out.
Nothing here reads files, opens connections or knows what a role permits.
"""
