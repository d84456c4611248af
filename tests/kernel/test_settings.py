"""Settings: from variables or files, checked, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings
from tests.support.reference_docs import SETTINGS

from tagtrail.composition import BUILDERS
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.settings import KernelSettings, SettingsError, load

CLASSES = [cls for _, cls in SETTINGS]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests do not matter."""
    for name in [n for n in os.environ if n.startswith("TAGTRAIL_")]:
        monkeypatch.delenv(name)


def test_every_service_has_a_class_of_settings_with_its_own_prefix() -> None:
    prefixes = [str(cls.model_config["env_prefix"]) for cls in CLASSES]

    assert len(set(prefixes)) == len(prefixes)
    assert {f"TAGTRAIL_{name.upper()}_" for name in BUILDERS} < set(prefixes)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_is_described_and_frozen(cls: type[BaseSettings]) -> None:
    made = load(cls)

    assert [n for n, f in cls.model_fields.items() if not (f.description or "").endswith(".")] == []
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, next(iter(cls.model_fields)), 1)


@pytest.mark.parametrize("cls", CLASSES)
def test_settings_with_a_magnitude_carry_their_unit(cls: type[BaseSettings]) -> None:
    for name, field in cls.model_fields.items():
        if field.annotation is float:
            assert name.endswith(("_s", "_h", "_per_s", "_m", "_dbm", "_pct")), name


def test_a_variable_is_read_and_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_PORT", "0")
    monkeypatch.setenv("TAGTRAIL_MIGRATE", "false")

    settings = load(KernelSettings)

    assert (settings.port, settings.migrate) == (0, False)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAGTRAIL_PORT", "65536"),
        ("TAGTRAIL_PORT", "-1"),
        ("TAGTRAIL_PORT", "http"),
        ("TAGTRAIL_PORT", ""),
        ("TAGTRAIL_LOG_LEVEL", "verbose"),
        ("TAGTRAIL_MIGRATE", "perhaps"),
        ("TAGTRAIL_MAX_BODY_BYTES", "1023"),
        ("TAGTRAIL_REQUESTS_PER_S", "0"),
    ],
)
def test_a_wrong_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=rf"{variable}: .*; docs/settings\.md"):
        load(KernelSettings)


@pytest.mark.parametrize(
    ("variable", "value"), [("TAGTRAIL_PORT", "65535"), ("TAGTRAIL_MAX_BODY_BYTES", "1024")]
)
def test_values_on_their_bounds_are_accepted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert str(getattr(load(KernelSettings), variable.removeprefix("TAGTRAIL_").lower())) == value


def test_all_wrong_values_are_named_at_once_and_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAGTRAIL_INGEST_MAX_ITEMS", "hunter2")
    monkeypatch.setenv("TAGTRAIL_INGEST_INFLIGHT_APPENDS", "99")

    with pytest.raises(SettingsError) as caught:
        load(IngestSettings)

    message = str(caught.value)
    assert "TAGTRAIL_INGEST_MAX_ITEMS:" in message
    assert "TAGTRAIL_INGEST_INFLIGHT_APPENDS:" in message
    assert "hunter2" not in message
    assert caught.value.__cause__ is None


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("tt_secret\n")
    monkeypatch.setenv("TAGTRAIL_SERVICE_KEY_FILE", str(path))

    assert load(KernelSettings).service_key == "tt_secret"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_may_stand_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cls: type[BaseSettings]
) -> None:
    for name in cls.model_fields:
        value = getattr(cls(), name)
        path = tmp_path / name
        path.write_text(str(getattr(value, "get_secret_value", lambda v=value: v)()))
        monkeypatch.setenv(f"{cls.model_config['env_prefix']}{name}_FILE".upper(), str(path))

    assert load(cls) == cls()


def test_a_wrong_value_in_a_file_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "port"
    path.write_text("many")
    monkeypatch.setenv("TAGTRAIL_PORT_FILE", str(path))

    with pytest.raises(SettingsError, match=r"TAGTRAIL_PORT: "):
        load(KernelSettings)


def test_a_file_that_cannot_be_read_names_its_variable_and_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAGTRAIL_SERVICE_KEY_FILE", str(tmp_path / "absent"))

    with pytest.raises(SettingsError, match=r"TAGTRAIL_SERVICE_KEY_FILE: cannot read .*absent"):
        load(KernelSettings)


def test_a_variable_and_its_file_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    monkeypatch.setenv("TAGTRAIL_SERVICE_KEY_FILE", str(path))
    monkeypatch.setenv("TAGTRAIL_SERVICE_KEY", "two")

    with pytest.raises(
        SettingsError, match="set TAGTRAIL_SERVICE_KEY or TAGTRAIL_SERVICE_KEY_FILE"
    ):
        load(KernelSettings)


def test_an_unknown_variable_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_NEWER_SETTING", "1")

    assert load(KernelSettings) == KernelSettings()
