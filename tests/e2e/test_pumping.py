"""A pumping attack on the whole service: the API and a worker as processes, the sandbox's prices, a real Valkey."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.system import Caller, System, wait_until

NUMBERS = 1000
RANGE = "4915112"
SMS = Decimal("3.00")  # what the sandbox takes where a number has no Telegram


@dataclass
class Guarded(System):
    """Its tenant has further settings: ``limits`` and ``tenant``, lines of TOML."""

    limits: str = ""
    tenant: str = ""

    def settings(self, **options: Any) -> Path:
        path = super().settings(**options)
        text = path.read_text("utf-8").replace('default_region = "RU"\nregions = ["RU", "KZ"]\n', self.tenant)
        path.write_text(text.replace("[limits]\n", f"[limits]\n{self.limits}"), "utf-8")
        return path


def _attack(caller: Caller) -> Counter[str]:
    """A code for each number of the range, each from another address; what came of them."""

    def start(index: int) -> str:
        body = {"number": f"+{RANGE}{index:04d}70", "ip": f"198.51.{index // 250}.{index % 250 + 1}"}
        response = caller.client.post("/v1/verifications", json=body)
        if response.status_code == 429:
            assert int(response.headers["Retry-After"]) > 0
        return str(response.json()["limit"] if response.status_code == 429 else response.status_code)

    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(start, range(NUMBERS)))


def _cost(system: System) -> Decimal:
    """What the gateway has taken since the balance was set, once all that was accepted is settled."""
    client = system.valkey.client()
    wait_until(lambda: client.xlen("otp:{0}:outbox") == 0, "all sends to be settled", seconds=90)
    return Decimal("100000.00") - Decimal(system.sandbox.stats()["balance"])


@pytest.mark.parametrize(
    ("limits", "tenant", "limit", "codes"),
    [
        pytest.param("", "", None, NUMBERS, id="without"),
        pytest.param('prefix = {digits = 7, rules = ["50/1h"]}\n', "", "prefix", 50, id="prefix"),
        pytest.param("", 'daily_budget = "60.00"\nestimated_price = "3.00"\n', "budget", 20, id="budget"),
    ],
)
def test_a_pumping_attack_is_cut_short(
    own_system: System, limits: str, tenant: str, limit: str | None, codes: int
) -> None:
    system = Guarded(own_system.folder, own_system.valkey, own_system.sandbox, limits=limits, tenant=tenant)
    system.sandbox.set_balance("100000.00")
    with system.serve() as caller:
        said = _attack(caller)
        assert said["201"] == codes
        assert said == {"201": codes} | ({limit: NUMBERS - codes} if limit is not None else {})
        assert _cost(system) == codes * SMS
        if limit != "budget":
            assert caller.start("+4917612345601")["status"] == "pending"  # another range is served as ever
        assert (f'"limit":"{limit}"' in system.logs) == (limit is not None)
        assert ('"prefix":"4915112"' in system.logs) == (limit == "prefix")


def test_without_an_estimate_the_budget_is_overshot_by_what_is_in_flight_and_no_more(own_system: System) -> None:
    """Counted is what the gateway has said; so what is accepted until then goes over, and not one send after it."""
    system = Guarded(own_system.folder, own_system.valkey, own_system.sandbox, tenant='daily_budget = "60.00"\n')
    system.sandbox.set_balance("100000.00")
    with system.serve() as caller:
        said = _attack(caller)
        assert said["201"] + said["budget"] == NUMBERS
        assert _cost(system) == said["201"] * SMS >= Decimal("60.00")
        response = caller.client.post("/v1/verifications", json={"number": "+4917612345601"})
        assert (response.status_code, response.json()["limit"]) == (429, "budget")
