"""The GPU side's settings, from an environment."""

from pathlib import Path

import pytest

from serve_app.settings import Settings, SettingsError

S3 = {
    "SFUMATO_S3_URL": "https://s3.example.org:8333",
    "SFUMATO_S3_ACCESS_KEY": "me",
    "SFUMATO_S3_SECRET_KEY": "hush-hush",
}


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_env({})
    assert settings.models == ["sfumato-embedded"]
    assert (settings.serve_host, settings.serve_port) == ("127.0.0.1", 8000)
    assert settings.home.name == ".sfumato"
    assert settings.store.directory == settings.home / "objects"
    assert settings.image_hashes == settings.home / "image-hashes.txt"
    assert (settings.policies, settings.torch_threads, settings.store.s3_url) == (None, None, None)


def test_empty_variables_are_as_good_as_none():
    names = ["HOME", "POLICIES", "IMAGE_HASHES", "MODELS", "SERVE_PORT", "TORCH_THREADS", "S3_URL"]
    assert Settings.from_env({f"SFUMATO_{name}": "" for name in names}) == Settings.from_env({})


def test_every_variable_is_read(tmp_path: Path):
    settings = Settings.from_env(
        {
            "SFUMATO_HOME": str(tmp_path),
            "SFUMATO_MODELS": "one, two",
            "SFUMATO_SERVE_HOST": "10.0.0.7",
            "SFUMATO_SERVE_PORT": "9000",
            "SFUMATO_SERVE_SECRET": "hush-hush",
            "SFUMATO_POLICIES": "/etc/sfumato",
            "SFUMATO_TORCH_THREADS": "2",
            "SFUMATO_IMAGE_HASHES": "/etc/sfumato/hashes.txt",
            "SFUMATO_S3_BUCKET": "images",
            "SFUMATO_S3_REGION": "eu-north-1",
            **S3,
        }
    )
    assert settings.home == tmp_path
    assert settings.models == ["one", "two"]
    assert (settings.serve_host, settings.serve_port, settings.torch_threads) == ("10.0.0.7", 9000, 2)
    assert settings.policies == Path("/etc/sfumato")
    assert settings.image_hashes == Path("/etc/sfumato/hashes.txt")
    store = settings.store
    assert (store.s3_url, store.access_key, store.secret_key) == tuple(S3.values())
    assert (store.bucket, store.region) == ("images", "eu-north-1")


@pytest.mark.parametrize("name", ["SFUMATO_SERVE_PORT", "SFUMATO_TORCH_THREADS"])
@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "70000"])
def test_a_number_out_of_range_is_refused_by_name(name: str, text: str):
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: text})


@pytest.mark.parametrize("text", [",", "one,,two", "one,one"])
def test_a_list_of_models_with_holes_or_doubles_is_refused(text: str):
    with pytest.raises(SettingsError, match="SFUMATO_MODELS"):
        Settings.from_env({"SFUMATO_MODELS": text})


@pytest.mark.parametrize("url", ["s3.example.org", "ftp://s3.example.org", "https://s3.example.org/bucket"])
def test_an_address_that_is_none_is_refused_by_name(url: str):
    with pytest.raises(SettingsError, match="SFUMATO_S3_URL"):
        Settings.from_env({**S3, "SFUMATO_S3_URL": url})


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**S3, "SFUMATO_S3_URL": "https://me:hush-hush@s3.example.org"})
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["SFUMATO_S3_ACCESS_KEY", "SFUMATO_S3_SECRET_KEY"])
def test_an_s3_without_credentials_is_refused_by_name(name: str):
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({**S3, name: ""})


def test_reprs_show_no_secret():
    settings = Settings.from_env({"SFUMATO_SERVE_SECRET": "hush-hush", **S3})
    assert "hush" not in f"{settings!r} {settings} {settings.store!r}"
