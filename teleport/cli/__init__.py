"""The command lines `tsh` (for everybody) and `tctl` (for administrators), and offline work on policy.

A command's module is imported when the command runs, so that starting one costs nothing of the others.
"""
