"""The past of policy on the command line: from a clone of the repository, or told by the running cluster."""
