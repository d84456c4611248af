"""Messages leave for public addresses only."""

from __future__ import annotations

import pytest

from tagtrail_alerts.channels.guard import (
    AddressRefusedError,
    Resolve,
    UnresolvedError,
    check_form,
    target_of,
)

PUBLIC = "93.184.215.14"


def resolving(*addresses: str) -> Resolve:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.slack.com/services/x",
        "ftp://hooks.slack.com/x",
        "https://",
        "https://user:pw@hooks.slack.com/x",
        "https://hooks.slack.com/x#y",
        "https://hooks.slack.com:0/x",
        "https://hooks.slack.com:99999/x",
        "https://hooks.slack.com/x y",
        "https://10.0.0.7/x",
        "https://192.168.1.1/x",
        "https://172.16.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/x",
        "https://0.0.0.0/x",
        "https://127.0.0.1/x",
        "http://127.0.0.1/x",
        "https://224.0.0.1/x",
        "https://[::1]/x",
        "https://[fe80::1]/x",
        "https://[fd00::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[64:ff9b::a00:1]/x",
        "https://[2002:a00:1::]/x",
        "not a url",
    ],
)
def test_an_address_that_is_not_public_https_is_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_form(url, allow_loopback=False)


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "::1", "169.254.169.254", "fd00::1"])
async def test_a_name_that_leads_into_our_own_network_is_refused(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        await target_of(
            "https://hooks.example.com/x", allow_loopback=False, resolve=resolving(PUBLIC, address)
        )


@pytest.mark.parametrize("address", ["10.1.2.3", "::1%lo", "fe80::1%eth0"])
async def test_allowing_loopback_does_not_allow_private_networks(address: str) -> None:
    target = target_of("https://x.example.com", allow_loopback=True, resolve=resolving(address))
    if address.startswith("::1"):
        assert (await target).url == "https://[::1]:443"
        return

    with pytest.raises(AddressRefusedError):
        await target


async def test_plain_http_stays_on_this_machine_even_if_the_name_says_so() -> None:
    with pytest.raises(AddressRefusedError):
        await target_of("http://localhost/x", allow_loopback=True, resolve=resolving(PUBLIC))


async def test_the_connection_goes_to_the_judged_address_under_the_hosts_name() -> None:
    target = await target_of(
        "https://hooks.slack.com/services/T/B/x", allow_loopback=False, resolve=resolving(PUBLIC)
    )

    assert target.url == f"https://{PUBLIC}:443/services/T/B/x"
    assert target.host == "hooks.slack.com"
    assert target.name == "hooks.slack.com"


async def test_a_name_without_an_address_is_not_a_refusal() -> None:
    with pytest.raises(UnresolvedError):
        await target_of("https://x.example.com", allow_loopback=False, resolve=resolving())


def test_a_refusal_does_not_repeat_the_address() -> None:
    with pytest.raises(AddressRefusedError) as raised:
        check_form("https://10.0.0.7/services/sEcReT", allow_loopback=False)

    assert "sEcReT" not in raised.value.detail
