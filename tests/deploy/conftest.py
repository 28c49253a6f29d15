"""What tests of deploy/ share."""

from __future__ import annotations

import pytest

from tests.deploy.manifests import OVERLAYS, Resources, rendered


@pytest.fixture(params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> tuple[Resources, ...]:
    """Give what is launched by one overlay."""
    return rendered(request.param)
