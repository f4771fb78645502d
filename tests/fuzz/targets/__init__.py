"""Every target, in the order of the published table."""

from tests.fuzz.target import Target
from tests.fuzz.targets.access import EXPRESSIONS, PATTERNS
from tests.fuzz.targets.certificates import SSH, X509
from tests.fuzz.targets.hello import HELLO
from tests.fuzz.targets.lines import LINES, NDJSON
from tests.fuzz.targets.policy import CONFIG, YAML
from tests.fuzz.targets.sftp import SFTP

__all__ = ["TARGETS"]

TARGETS: tuple[Target, ...] = (HELLO, SFTP, LINES, NDJSON, YAML, CONFIG, SSH, X509, EXPRESSIONS, PATTERNS)
