"""One running auth service a test that asks for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.auth.cluster import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """The cluster acme with nothing declared."""
    async with Cluster.open(tmp_path / "data") as cluster:
        yield cluster
