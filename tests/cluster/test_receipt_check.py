"""`sfumato receipt verify` as whoever holds a receipt runs it."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from cluster.receipt_check import NoKeys, keys_of
from edge.domain.receipts import Counts
from tests.cluster.test_cli import sfumato
from tests.edge.domain.test_receipts import CLAIMS, SIGNER


def prepared(directory: Path, receipt: str) -> None:
    (directory / "receipt.txt").write_text(receipt + "\n")
    (directory / "keys.json").write_bytes(msgspec.json.encode(SIGNER.key_set))


def test_a_genuine_receipt_is_read_out_offline(tmp_path: Path):
    prepared(tmp_path, SIGNER.sign(replace(CLAIMS, counts=Counts(images=3, training_copies=1))))
    told = sfumato("receipt", "verify", "receipt.txt", "--jwks", "keys.json", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert "Genuine. https://sfumato.example says that at 2027-01-15 08:00 UTC it deleted" in told.stdout
    assert "3 images, 1 training copies" in told.stdout


def test_a_changed_one_is_not(tmp_path: Path):
    prepared(tmp_path, SIGNER.sign(CLAIMS)[:-4] + "AAAA")
    told = sfumato("receipt", "verify", "receipt.txt", "--jwks", "keys.json", cwd=tmp_path)
    assert told.returncode == 1
    assert told.stdout.startswith("Not genuine: the signature does not fit")


def test_without_file_or_keys_it_cannot_be_said(tmp_path: Path):
    prepared(tmp_path, SIGNER.sign(CLAIMS))
    for file, keys in (("missing.txt", "keys.json"), ("receipt.txt", "missing.json"), ("receipt.txt", "receipt.txt")):
        told = sfumato("receipt", "verify", file, "--jwks", keys, cwd=tmp_path)
        assert (told.returncode, told.stdout) == (2, "")
        assert len(told.stderr.splitlines()) == 1
    told = sfumato("receipt", "verify", "receipt.txt", "--jwks", "http://127.0.0.1:9", cwd=tmp_path)
    assert told.returncode == 2
    assert "does not answer" in told.stderr


@pytest.mark.parametrize(
    "keys", ["{}", '{"keys": []}', '{"keys": "x"}', '{"keys": [1]}', '{"keys": [{}]}', '{"error": {"message": "down"}}']
)
def test_a_file_without_a_key_says_nothing_about_the_receipt(tmp_path: Path, keys: str):
    prepared(tmp_path, SIGNER.sign(CLAIMS))
    (tmp_path / "keys.json").write_text(keys)
    with pytest.raises(NoKeys, match="holds no key"):
        keys_of(str(tmp_path / "keys.json"))


def test_what_another_service_signed_cannot_steer_the_terminal(tmp_path: Path):
    prepared(tmp_path, SIGNER.sign(replace(CLAIMS, iss="https://x\x1b[2J\x1b]0;pwned\x07")))
    told = sfumato("receipt", "verify", "receipt.txt", "--jwks", "keys.json", cwd=tmp_path)
    assert told.returncode == 0
    assert "https://x\\x1b[2J" in told.stdout
    assert told.stdout.replace("\n", "").isprintable()
