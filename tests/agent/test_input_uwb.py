"""UWB ranges by lines: what a line means, and where lines come from."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import random
import socket
import termios
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.agent_inputs import NOON, REAL_CLOCKS, Hands, Listener, hearing, until

from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.formats.values import UnreadableError
from tagtrail_agent.inputs.uwb import MOST_LINE_BYTES, Lines, UwbLines, UwbOptions, read_line


def test_columns_and_json_say_the_same() -> None:
    columns, _ = read_line(b"T7,anchor-1,3.52,0.1,-81.5,-84")
    as_json, own = read_line(
        b'{"tag":"uwb:T7","anchor":"anchor-1","range_m":3.52,"sigma_m":0.1,"rssi_dbm":-81.5,'
        b'"first_path_dbm":-84,"at":"2026-11-24T12:00:00Z","sequence":9}'
    )

    assert columns == {
        "tag": "uwb:T7",
        "anchor": "anchor-1",
        "range_m": 3.52,
        "sigma_m": 0.1,
        "rssi_dbm": -81.5,
        "first_path_dbm": -84,
    }
    assert as_json == columns | {"sequence": 9}
    assert own == NOON


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"T7,anchor-1", "columns"),
        (b"T7,anchor-1,1,2,3", "columns"),
        (b"T7,anchor-1,far", "no_range"),
        (b"T7,anchor-1,nan", "no_range"),
        (b"T7,anchor-1,-0.1", "range_outside"),
        (b"T7,anchor-1,1000.1", "range_outside"),
        (b",anchor-1,1", "no_identity"),
        (b"T7,,1", "no_gateway"),
        (b"\xff,anchor-1,1", "no_text"),
        (b"{,", "no_json"),
        (b'{"tag":"T7","anchor":"a"}', "no_range"),
        (b"T" * (MOST_LINE_BYTES + 1), "overlong"),
    ],
)
def test_a_line_without_a_range_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_line(line)


@pytest.mark.parametrize("range_m", [0, 1000])
def test_both_ends_of_the_range_are_allowed(range_m: int) -> None:
    assert read_line(b"T7,a,%d" % range_m)[0]["range_m"] == range_m


def test_a_senseless_side_value_spares_the_range() -> None:
    assert read_line(b"T7,a,3,0,99,-999")[0] == {"tag": "uwb:T7", "anchor": "a", "range_m": 3}


@given(st.binary(max_size=80))
def test_no_line_raises_anything_else(line: bytes) -> None:
    with contextlib.suppress(UnreadableError):
        members, _ = read_line(line)

        assert 0 <= members["range_m"] <= 1000


def test_a_stream_is_cut_into_lines_wherever_it_breaks() -> None:
    chance = random.Random(2)
    sent = [b"T%d,a,%d" % (n, n % 100) for n in range(200)]
    stream, lines, got = b"\n".join(sent) + b"\n", Lines(), []

    while stream:
        size = chance.randint(1, 40)
        got += lines.add(stream[:size])
        stream = stream[size:]

    assert got == sent


def test_noise_without_line_ends_takes_no_memory_and_the_next_line_counts() -> None:
    lines = Lines()

    got = [line for _ in range(100) for line in lines.add(b"\xaa" * 1000)]
    got += lines.add(b"end of noise\nT7,a,1\n")

    assert got == [b"T7,a,1"]
    assert lines.take_overlong() == 1
    assert lines.take_overlong() == 0


async def test_packets_are_heard_with_one_range_a_line() -> None:
    hands = Hands()
    source = UwbLines(UwbOptions(udp_port=0), hands.clocks)

    async with hearing(source) as listener:
        await until(lambda: source.port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"T7,a1,1.5\nT7,a2,2.5\r\n\nnoise", ("127.0.0.1", source.port))
            late = (NOON - timedelta(seconds=30)).isoformat().encode()
            sender.sendto(b'{"tag":"T8","anchor":"a1","range_m":4,"at":"%s"}' % late,
                          ("127.0.0.1", source.port))  # fmt: skip
            await until(lambda: len(listener.heard) == 3)

    first, second, third = listener.readings
    assert (first.tag, first.gateway_id) == ("uwb:T7", "a1")
    assert first.members == {"range_m": 1.5, "technology": "uwb"}
    assert (second.at, second.elapsed_s) == (NOON, 1000.0)
    assert (third.at, third.elapsed_s) == (NOON - timedelta(seconds=30), 970.0)
    assert source.counts == {"ranges": 3, "columns": 1}


async def test_a_serial_port_is_raw_and_survives_being_unplugged(tmp_path: Path) -> None:
    port = tmp_path / "ttyUWB"
    source = UwbLines(UwbOptions(device=port, retry_most_s=0.1), REAL_CLOCKS)

    async with hearing(source) as listener:
        await until(lambda: source.counts["device_lost"] >= 1)
        for number in (1, 2):
            master, slave = pty.openpty()
            port.unlink(missing_ok=True)
            port.symlink_to(os.ttyname(slave))
            await until(lambda s=slave: not termios.tcgetattr(s)[3] & termios.ECHO)  # type: ignore[misc]
            os.write(master, b"T7,a1,%d.5\r\nT7," % number)
            os.write(master, b"a2,%d.25\n" % number)
            await until(lambda n=number: len(listener.heard) == 2 * n)  # type: ignore[misc]
            os.close(slave)
            os.close(master)
            await asyncio.sleep(0.05)

    assert [r.members["range_m"] for r in listener.readings] == [1.5, 1.25, 2.5, 2.25]
    assert source.counts["device_lost"] >= 2


async def test_a_file_that_is_no_serial_port_is_counted_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("T7,a1,1\n")
    source = UwbLines(UwbOptions(device=tmp_path / "plain", retry_most_s=0.05), REAL_CLOCKS)

    async with hearing(source) as listener:
        await until(lambda: source.counts["device_lost"] >= 3)

    assert listener.heard == []


async def test_a_taken_udp_port_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        source = UwbLines(UwbOptions(udp_port=holder.getsockname()[1]), REAL_CLOCKS)

        with pytest.raises(AgentError, match="choose another udp_port"):
            await source.run(Listener())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (UwbOptions(), "either `device` or `udp_port`"),
        (UwbOptions(device=Path("/dev/x"), udp_port=1), "either `device` or `udp_port`"),
        (UwbOptions(device=Path("/dev/x"), baud=12345), "baud must be one of 9600"),
    ],
)
def test_options_that_contradict_are_refused(options: UwbOptions, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        UwbLines(options, REAL_CLOCKS)
