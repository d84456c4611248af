"""Keys whose text was made before there was a database."""

from __future__ import annotations

import pytest

from tagtrail import running
from tagtrail_kernel.access import Gatekeeper
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.errors import ConflictError, RejectedError
from tagtrail_kernel.settings import KernelSettings

TEXT = f"tt_0123456789ab_{'s_-9' * 16}"


async def adopt(settings: KernelSettings, text: str = TEXT, role: str = "service") -> bool:
    return await running.adopt_key(settings, text, log_id=None, name="services", role=role)


async def test_an_adopted_key_opens_the_services(database_url: str) -> None:
    settings = KernelSettings(database_url=database_url)
    await running.prepare_database(settings)
    log_id = (await running.ensure_tenant(settings, *running.DEFAULT_TENANT)).log_id
    stored = await adopt(settings)

    async with running.access_of(settings) as access:
        who = await Gatekeeper(access, SystemClock()).principal(f"Bearer {TEXT}", str(log_id))

    assert stored
    assert (who.key_id, who.role, who.log_id) == ("0123456789ab", "service", log_id)


async def test_adopting_the_same_key_again_changes_nothing(database_url: str) -> None:
    settings = KernelSettings(database_url=database_url)
    await running.prepare_database(settings)

    first, again = await adopt(settings), await adopt(settings)

    assert (first, again) == (True, False)


@pytest.mark.parametrize(
    ("text", "role"), [(TEXT[:-1] + "x", "service"), (TEXT, "admin")], ids=["secret", "role"]
)
async def test_a_key_id_is_not_given_to_another_key(
    database_url: str, text: str, role: str
) -> None:
    settings = KernelSettings(database_url=database_url)
    await running.prepare_database(settings)
    await adopt(settings)

    with pytest.raises(ConflictError, match="make another one"):
        await adopt(settings, text, role)


async def test_a_revoked_key_does_not_come_back(database_url: str) -> None:
    settings = KernelSettings(database_url=database_url)
    await running.prepare_database(settings)
    log_id = (await running.ensure_tenant(settings, *running.DEFAULT_TENANT)).log_id
    await running.adopt_key(settings, TEXT, log_id=log_id, name="plant", role="operator")
    async with running.access_of(settings) as access:
        await access.revoke_key(log_id, "0123456789ab", SystemClock().now())

    with pytest.raises(ConflictError, match="revoked"):
        await running.adopt_key(settings, TEXT, log_id=log_id, name="plant", role="operator")


@pytest.mark.parametrize(
    "text",
    [
        "tt_0123456789ab_" + "s" * 31,
        "tt_0123456789AB_" + "s" * 32,
        "0123456789ab_" + "s" * 32,
        "tt_0123456789ab_" + "s" * 31 + "é",
    ],
    ids=["short secret", "capital id", "no prefix", "not ASCII"],
)
async def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(RejectedError, match="tt_<12 hexadecimal digits>"):
        await adopt(KernelSettings(), text)
