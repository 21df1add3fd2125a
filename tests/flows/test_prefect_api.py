"""Where a Prefect API is configured is found without Prefect; held against Prefect's own settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.prefect_api import configured_api, uses_prefect
from storage_schemas.errors import RecipeError

HERE = "http://here:4200/api"
PROFILES = f"""
active = "lab"
[profiles.lab]
PREFECT_API_URL = "{HERE}/lab"
[profiles.quiet]
PREFECT_LOGGING_LEVEL = "INFO"
"""
ALL = {
    ".env": f"PREFECT_API_URL={HERE}/dotenv",
    "prefect.toml": f'[api]\nurl = "{HERE}/toml"',
    "pyproject.toml": f'[tool.prefect.api]\nurl = "{HERE}/pyproject"',
    "home/profiles.toml": PROFILES,
}
CASES: dict[str, tuple[dict[str, str], dict[str, str], str | None]] = {
    "nothing": ({}, {}, None),
    "environment": (ALL, {"PREFECT_API_URL": f"{HERE}/env"}, f"{HERE}/env"),
    "environment, lower case": (ALL, {"prefect_api_url": f"{HERE}/env"}, f"{HERE}/env"),
    "environment, empty": (ALL, {"PREFECT_API_URL": ""}, None),
    ".env": (ALL, {}, f"{HERE}/dotenv"),
    "prefect.toml": ({name: ALL[name] for name in list(ALL)[1:]}, {}, f"{HERE}/toml"),
    "pyproject.toml": ({name: ALL[name] for name in list(ALL)[2:]}, {}, f"{HERE}/pyproject"),
    "active profile": ({"home/profiles.toml": PROFILES}, {}, f"{HERE}/lab"),
    "profile by name, which sets none": ({"home/profiles.toml": PROFILES}, {"PREFECT_PROFILE": "quiet"}, None),
    "profile that is not there": ({"home/profiles.toml": PROFILES}, {"PREFECT_PROFILE": "other"}, None),
    "profiles elsewhere": ({"mine.toml": PROFILES}, {"PREFECT_PROFILES_PATH": "mine.toml"}, f"{HERE}/lab"),
    "profiles elsewhere by .env": ({"mine.toml": PROFILES, ".env": "PREFECT_PROFILES_PATH=mine.toml"}, {}, f"{HERE}/lab"),
    "profiles elsewhere by prefect.toml": ({"mine.toml": PROFILES, "prefect.toml": 'profiles_path = "mine.toml"'}, {}, f"{HERE}/lab"),
    "Prefect's own profile": ({}, {"PREFECT_PROFILE": "local", "PREFECT_HOME": ""}, "http://127.0.0.1:4200/api"),
    "Prefect's own profile, in a folder without profiles": ({}, {"PREFECT_PROFILE": "local"}, None),
    "broken profiles": ({"home/profiles.toml": "active = "}, {"PREFECT_PROFILE": "local"}, None),
    "without profiles under Prefect's own tests": ({"home/profiles.toml": PROFILES}, {"PREFECT_TEST_MODE": "1"}, None),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("prefect.settings.sources.DEFAULT_PREFECT_HOME", tmp_path / ".prefect")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    return tmp_path


@pytest.mark.filterwarnings("ignore:Failed to load profiles")
@pytest.mark.parametrize("case", CASES)
def test_address_when_configured_anywhere_then_is_the_one_that_prefect_uses(folder, monkeypatch, case):
    from prefect.settings import Settings

    files, environment, wanted = CASES[case]
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert configured_api() == wanted
    assert (Settings().api.url or None) == wanted


def test_settings_of_prefect_when_they_cannot_be_read_then_the_error_names_the_file(folder):
    (folder / "prefect.toml").write_text("[api")
    with pytest.raises(RecipeError, match=r"prefect\.toml' cannot be read, and may hold settings of Prefect: .* Correct it"):
        configured_api()


def test_command_when_asked_or_not_then_prefect_carries_it_out_or_not(folder, monkeypatch):
    assert not uses_prefect(prefect=False, no_prefect=False)
    assert uses_prefect(prefect=True, no_prefect=False)
    monkeypatch.setenv("PREFECT_API_URL", HERE)
    assert uses_prefect(prefect=False, no_prefect=False)
    assert not uses_prefect(prefect=False, no_prefect=True)


@pytest.mark.parametrize("command", ["run", "train", "retrain", "ablate"])
def test_command_when_both_are_given_then_an_error(command, write_recipe, tiny_root, depthmill, tmp_path):
    recipe = write_recipe(tiny_root, train={"max_steps": 1}, ablation={"variants": {"a": {}}})
    code, text = depthmill(command, recipe, "--prefect", "--no-prefect")
    assert code == 2, text
    assert "--prefect and --no-prefect contradict each other, expected one of them. Leave one out" in text
    assert not (tmp_path / "store").exists()


def test_run_when_no_api_is_configured_then_prefect_is_not_imported(write_recipe, tiny_root, copied_store, folder):
    recipe = write_recipe(tiny_root)
    code = (
        "import sys; from flows.cli import main\n"
        f"sys.argv = ['depthmill', 'run', {str(recipe)!r}, '--set', 'stages.clean_horizon.near_m=25', '--no-report']\n"
        "try: main()\n"
        "finally: print('prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=None, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "done: 3 ok in" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
