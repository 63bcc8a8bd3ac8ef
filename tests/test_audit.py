"""What the audit of the dependencies makes of its report: a vulnerability fails, not knowing does not."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[1] / ".ci" / "audit"

GOOD = {"name": "flask", "version": "3.1.3", "vulns": []}
BAD = {"name": "flask", "version": "0.12", "vulns": [{"id": "PYSEC-2018-66", "fix_versions": ["0.12.3"]}]}
UNMENDED = {"name": "other", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
UNKNOWN = {"name": "redis", "skip_reason": "Dependency not found on PyPI and could not be audited: redis (8.1.0)"}
OWN = {"name": "otpservice", "skip_reason": "distribution marked as editable"}


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        (None, 0, "not audited: the advisories cannot be reached"),
        ([OWN], 0, "not audited: the advisories cannot be reached"),
        ([UNKNOWN, OWN], 0, "not audited: the advisories cannot be reached"),
        ([GOOD, OWN], 0, "1 packages, no known vulnerability"),
        ([GOOD, UNKNOWN], 0, "not know them: redis"),
        ([GOOD, BAD], 1, "flask 0.12: PYSEC-2018-66, mended in 0.12.3"),
        ([UNKNOWN, UNMENDED], 1, "other 1: PYSEC-1, mended in no version"),
    ],
)
def test_only_a_known_vulnerability_fails(packages: list[dict[str, Any]] | None, status: int, said: str) -> None:
    spec = spec_from_loader("audit", SourceFileLoader("audit", str(PATH)))
    assert spec is not None
    assert spec.loader is not None
    audit = module_from_spec(spec)
    spec.loader.exec_module(audit)
    found, lines = audit.verdict(None if packages is None else {"dependencies": packages})
    assert found == status
    assert said in "\n".join(lines)
