"""Access governed from git.

Resources say what should be; gitops moves them into the store; the store remembers; a snapshot compiles
them; the gate decides and watches over sessions; agents and proxy speak protocols; audit writes down
what happened; service assembles.
"""

__version__ = "0.1.0"
