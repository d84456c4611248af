"""The embedded PostgreSQL and NATS of the test process."""

from __future__ import annotations

import asyncpg
import pytest

from tagtrail.embedded import Embedded


async def test_a_test_gets_an_empty_database_of_its_own(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetchval(
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        owner = await connection.fetchval(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()

    assert (tables, owner) == (0, "tagtrail")


async def test_the_database_demands_the_right_password(infra: Embedded) -> None:
    user, _, rest = infra.database_url.removeprefix("postgresql://").partition("@")
    wrong = f"postgresql://{user.partition(':')[0]}:wrong@{rest}"

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)
