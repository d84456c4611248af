"""S25: CSV imports with dry run, diff and undo."""

from __future__ import annotations

from typing import Any

from tagtrail_kernel.events.places import TagZoneChanged

CSV = {"Content-Type": "text/csv"}


async def load(
    client: Any, kind: str, text: str | bytes, *, expect: int = 200, **params: str
) -> Any:
    answer = await client.http.post(
        f"/v1/imports/{kind}",
        content=text.encode() if isinstance(text, str) else text,
        params=params,
        headers=CSV,
    )
    assert answer.status_code == expect, answer.text
    return answer.json()


async def check(client: Any, kind: str, text: str | bytes) -> Any:
    return await load(client, kind, text, dry_run="true")


async def furnish(client: Any) -> None:
    await load(client, "sites", "site_id,name\nhall,Hall\nyard,Yard\n")
    await load(
        client, "zones", "zone_id,site_id,name,kind\nA,hall,Zone A,storage\nB,yard,Zone B,dock\n"
    )
    await load(client, "assets", "asset_id,name\ncrate-1,Blue\ncrate-2,Red\n")
    await load(client, "skus", "sku,name,unit\nscrew,Screw,EA\nnut,Nut,EA\n")
    await load(
        client,
        "tags",
        "tag_id,identities,label\nt1,AA:BB:CC:DD:EE:01,One\nt2,mac:aabbccddee02,Two\n",
    )


def faults_of(report: Any) -> list[tuple[int, str, str]]:
    whole = [(1, f["code"], f["column"]) for f in report["errors"]]
    return whole + [
        (r["line"], f["code"], f["column"]) for r in report["rows"] for f in r["errors"]
    ]


async def test_s25_every_kind_of_fault_is_reported_by_line_and_column(client: Any) -> None:
    await furnish(client)
    gateways = "\n".join(
        (
            "gateway_id,site_id,zone_id,name,x_m,path_loss_exponent",
            "g1,hall,A,fine,1.5,2",
            "g2,,A,no site,1,2",
            "g3,hall,A,bad number,one,2",
            "g1,hall,A,twice,1,2",
            "g4,nowhere,,unknown site,1,2",
            "g5,hall,C,unknown zone,1,2",
            f"{'g' * 201},hall,A,too long,1,2",
            "g6,hall,B,zone elsewhere,1,2",
            "g7,hall,A,too,many,cells,here",
            "g8,hall,A,out of range,1,9",
        )
    )
    tags = "tag_id,identities\nt3,AA:BB:CC:DD:EE:01\nt4,mac:0102030405\nt5,epc:AA\nt6,epc:AA\n"
    unknown = await check(client, "skus", "sku,colour\nbolt,red\n")
    missing = await check(client, "zones", "zone_id,name\nC,Zone C\n")

    assert faults_of(await check(client, "gateways", gateways)) == [
        (3, "missing_value", "site_id"),
        (4, "bad_value", "x_m"),
        (5, "duplicate", "gateway_id"),
        (6, "unknown_reference", "site_id"),
        (7, "unknown_reference", "zone_id"),
        (8, "too_long", "gateway_id"),
        (9, "wrong_site", "zone_id"),
        (10, "bad_row", ""),
        (11, "bad_value", "path_loss_exponent"),
    ]
    assert faults_of(await check(client, "tags", tags)) == [
        (2, "identity_taken", "identities"),
        (3, "bad_value", "identities"),
        (5, "identity_taken", "identities"),
    ]
    assert faults_of(unknown) == [(1, "unknown_column", "colour")]
    assert faults_of(missing) == [(1, "missing_column", "site_id")]


async def test_s25_one_fault_stops_the_whole_import_unless_parts_are_wanted(client: Any) -> None:
    text = "asset_id,name\ncrate-1,Blue\n,No id\n"
    problem = await load(client, "assets", text, expect=422)
    nothing = await client.get("/v1/assets")
    done = await load(client, "assets", text, partial="true")

    assert problem["errors"][0]["line"] == "3"
    assert problem["errors"][0]["code"] == "missing_value"
    assert nothing["items"] == []
    assert done["counts"] == {"create": 1, "update": 0, "unchanged": 0, "error": 1}
    assert [a["asset_id"] for a in (await client.get("/v1/assets"))["items"]] == ["crate-1"]


async def test_s25_a_dry_run_writes_nothing_and_shows_the_differences(client: Any) -> None:
    await furnish(client)
    before = (await client.get("/v1/summary"))["as_of_position"]
    report = await check(
        client, "assets", "asset_id,name\ncrate-1,Blue\ncrate-2,Green\ncrate-3,New\n"
    )

    assert (await client.get("/v1/summary"))["as_of_position"] == before
    assert [(r["action"], r["changes"]) for r in report["rows"]] == [
        ("unchanged", {}),
        ("update", {"name": {"before": "Red", "after": "Green"}}),
        (
            "create",
            {
                "asset_id": {"before": None, "after": "crate-3"},
                "name": {"before": None, "after": "New"},
            },
        ),
    ]
    applied = await client.post(f"/v1/imports/{report['import_id']}/apply")
    assert applied["state"] == "applied"
    assert (await client.get("/v1/assets/crate-2"))["name"] == "Green"
    await client.post(f"/v1/imports/{report['import_id']}/apply", expect=409)


async def test_s25_a_check_that_no_longer_fits_is_not_applied(client: Any) -> None:
    report = await check(client, "assets", "asset_id,name\ncrate-1,Blue\n")
    await client.post("/v1/assets", {"asset_id": "crate-1", "name": "Grey"})
    problem = await client.post(f"/v1/imports/{report['import_id']}/apply", expect=409)

    assert "dry run again" in problem["detail"]


async def test_s25_apply_and_undo_give_the_same_state_hash_for_every_kind(client: Any) -> None:
    await furnish(client)
    await client.say((0, TagZoneChanged(tag_id="t1", zone_id="A", site_id="hall")))
    await client.post("/v1/tags/t2/bind", {"asset_id": "crate-2"})
    await client.post("/v1/assets/crate-2/pack", {"lines": [{"sku": "nut", "quantity": 9}]})
    files = {
        "sites": "site_id,name\nhall,Great hall\nnew,New\n",
        "zones": "zone_id,site_id,name\nA,hall,Other name\nC,hall,Zone C\n",
        "gateways": "gateway_id,site_id,zone_id,x_m\ng1,hall,A,1.5\n",
        "tags": "tag_id,identities\nt2,epc:30AA epc:30BB\nt3,AA:BB:CC:DD:EE:03\n",
        "assets": "asset_id,name\ncrate-2,Green\ncrate-3,New\n",
        "skus": "sku,gtin\nbolt,4006381333931\nnut,40063813\n",
        "bindings": "tag_id,asset_id\nt1,crate-1\nt2,crate-1\n",
        "contents": "asset_id,sku,quantity,lot\ncrate-1,screw,40,\ncrate-2,nut,4,\ncrate-2,screw,1,L1\n",
    }
    undone = {}
    for kind, text in files.items():
        client.desk.deps.clock.forward(1)
        done = await load(client, kind, text)
        assert done["current_state_hash"] != done["hash_before"], kind
        again = await check(client, kind, text)
        assert again["counts"]["unchanged"] == len(again["rows"]), kind
        undone[kind] = await client.post(f"/v1/imports/{done['import_id']}/undo")
        assert undone[kind]["current_state_hash"] == done["hash_before"], kind

    assert all(u["restored"] for u in undone.values())
    assert (await client.get("/v1/assets/crate-1"))["place"] is None
    assert (await client.get("/v1/tags/t2"))["asset_id"] == "crate-2"
    listed = [i for i in (await client.get("/v1/imports"))["items"] if i["state"] == "undone"]
    assert [i["kind"] for i in listed] == list(files)[::-1]
    await client.post(f"/v1/imports/{listed[0]['import_id']}/undo", expect=409)


async def test_s25_what_was_changed_or_used_since_is_not_taken_back(client: Any) -> None:
    await furnish(client)
    done = await load(client, "assets", "asset_id,name\ncrate-3,C\ncrate-4,D\ncrate-5,E\n")
    await client.post("/v1/assets", {"asset_id": "crate-3", "name": "Changed"})
    await client.post("/v1/tags/t1/bind", {"asset_id": "crate-4"})
    problem = await client.post(f"/v1/imports/{done['import_id']}/undo", expect=409)

    assert [e["line"] for e in problem["errors"]] == ["2", "3"]
    assert "carries a tag" in problem["errors"][1]["detail"]


async def test_semicolons_decimal_commas_and_a_byte_order_mark_are_read(client: Any) -> None:
    await furnish(client)
    text = '\ufeffGateway_ID;site_id;x_m;name\r\ng1;hall;1,25;"Door; left"\r\n\r\n'
    await load(client, "gateways", text.encode())

    gateway = await client.get("/v1/gateways/g1")
    assert (gateway["x_m"], gateway["name"]) == (1.25, "Door; left")


async def test_files_that_are_no_csv_are_refused_with_a_reason(client: Any) -> None:
    latin = await load(client, "assets", "asset_id\nKäse\n".encode("latin-1"), expect=422)
    empty = await load(client, "assets", "", expect=422)
    quoted = await load(client, "assets", 'asset_id\n"open\n', expect=422)
    kind = await load(client, "things", "id\n1\n", expect=404)

    assert "UTF-8" in latin["detail"]
    assert "empty" in empty["detail"]
    assert "not CSV" in quoted["detail"]
    assert "bindings" in kind["detail"]


async def test_an_empty_cell_clears_and_a_missing_column_keeps(client: Any) -> None:
    await load(client, "assets", "asset_id,name,kind,external_ids\nc,Blue,pallet,erp=7|grai=8\n")
    await load(client, "assets", "asset_id,name\nc,\n")

    asset = await client.get("/v1/assets/c")
    assert "name" not in asset
    assert (asset["kind"], asset["external_ids"]) == ("pallet", {"erp": "7", "grai": "8"})


async def test_a_large_import_is_written_in_pieces_and_ends_whole(client: Any) -> None:
    rows = "\n".join(f"crate-{n:04},Crate {n}" for n in range(1200))
    done = await load(client, "assets", f"asset_id,name\n{rows}\n")
    undone = await client.post(f"/v1/imports/{done['import_id']}/undo")

    assert done["counts"]["create"] == 1200
    assert undone["restored"] is True


async def test_a_broken_off_import_goes_on_with_the_same_ids(client: Any) -> None:
    done = await load(client, "assets", "asset_id\nc1\nc2\n")
    async with client.desk.database.connection() as c:
        await c.execute("update import_run set state = 'applying'")
    again = await client.post(f"/v1/imports/{done['import_id']}/apply")

    assert again["position"] == done["position"]
    assert (await client.get("/v1/summary"))["as_of_position"] == done["position"]
