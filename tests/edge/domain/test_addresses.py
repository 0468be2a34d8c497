from edge.domain.addresses import address_for, address_token, read_address
from edge.domain.keyring import Keyring

KEYRING = Keyring("k" * 40)
KEY = "img/1d/20261124T0531Z/00112233445566778899aabbccddeeff"
VIEWING_SECRET = b"v" * 32


def test_an_address_finds_its_object_again() -> None:
    address = address_for(KEY, VIEWING_SECRET)
    assert address.key == KEY
    assert read_address(address_token(address, KEYRING), KEYRING) == address


def test_the_longest_backstop_a_policy_may_name_fits_into_an_address() -> None:
    key = KEY.replace("/1d/", "/3650d/")
    token = address_token(address_for(key, VIEWING_SECRET), KEYRING)
    address = read_address(token, KEYRING)
    assert address is not None
    assert address.key == key
    assert "=" not in token


def test_the_same_credential_makes_the_same_address_and_another_does_not() -> None:
    token = address_token(address_for(KEY, VIEWING_SECRET), KEYRING)
    assert token == address_token(address_for(KEY, VIEWING_SECRET), KEYRING)
    assert token != address_token(address_for(KEY, b"w" * 32), KEYRING)


def test_no_character_of_an_address_may_change() -> None:
    token = address_token(address_for(KEY, VIEWING_SECRET), KEYRING)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        assert read_address(token[:place] + other + token[place + 1 :], KEYRING) is None


def test_a_session_s_mac_does_not_make_an_address() -> None:
    token = address_token(address_for(KEY, VIEWING_SECRET), KEYRING)
    assert KEYRING.session_mac(b"x") != KEYRING.address_mac(b"x")
    assert read_address(token, Keyring("o" * 40)) is None
