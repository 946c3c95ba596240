"""No test of this folder sees another's notebook, and what a cell would display is kept in a list."""

from typing import Any

import pytest

from lpsgld.lab import output, session


@pytest.fixture(autouse=True)
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_session", session.Session())


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The MIME bundles displayed so far, with their metadata."""
    bundles: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr(output, "show", lambda data, metadata=None: bundles.append((data, metadata or {})))
    return bundles
