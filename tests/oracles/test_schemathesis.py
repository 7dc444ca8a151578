"""schemathesis reads /openapi.json and asks every route of it; nothing may be a 500."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")


def test_no_operation_of_the_document_is_a_500(tiny_server):
    key = {"Authorization": "Bearer secret"}
    schema = schemathesis.openapi.from_url(f"{tiny_server}/openapi.json", headers=key)
    asked: Counter[int] = Counter()
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 50
    for operation in operations:

        @settings(
            max_examples=6, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy())
        def ask(case):
            response = case.call(headers=key)
            asked[response.status_code] += 1
            assert response.status_code < 500 or response.status_code == 501, (case, response.text)
            assert "engine_error" not in response.text

        ask()
    assert asked[200] > 50
    assert asked[401] == 0
