"""Passkeys: what a browser is asked for, whether its answer is good, and the row of each.

The library checks signatures, origin and RP id; a person must have been verified by their device. A device that counts
its signatures and counts back may have been copied: the library refuses it, and so do we. Whoever tries passkeys learns
nothing from how they are refused: an unknown one costs the same statement and the same check as a known one.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    base64url_to_bytes,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    options_to_json_dict,
    parse_client_data_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from edge.db.rows import PasskeyRow
from edge.db.statements import changed
from edge.domain.accounts import hold_account
from edge.domain.challenges import LIVES_S
from edge.domain.owner import Owner
from edge.domain.sessions import day_of

MOST_PASSKEYS = 20
SHORTEST_ID, LONGEST_ID = 16, 1_023  # bytes: WebAuthn's own bounds for a credential id
LONGEST_KEY = 1_024
RSA_EXPONENT = 65_537
"""Of every device's: a longer one makes each check of a signature dear."""
# of nobody: what an unknown passkey's answer is checked with; P-256, and its private half was thrown away
DECOY = bytes.fromhex(
    "a50102032620012158207f1b25c4a76252f2a1470010c668a653f552f1946a486c8743a4073e1a10154d"
    "225820ff68b9f1199a078c6d592fbd5f407529a6e2f0bfb4aaa88946c3f12836d9931c"
)
_MALFORMED = (
    WebAuthnException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    UnsupportedAlgorithm,
)
"""What the library raises for bytes that are no answer at all: found by sending it all kinds."""

Given = dict[str, Any]
"""A credential as `PublicKeyCredential.toJSON()` writes it."""


class NotGenuine(Exception):
    """It is not an answer that a passkey of ours gave."""


class TooManyPasskeys(Exception):
    """An account has as many as it may."""


class KnownPasskey(Exception):
    """It opens an account already."""


class LastWayIn(Exception):
    """Nobody could sign in any more."""


class NewPasskey(Struct, frozen=True):
    """What a device made, checked."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


class RelyingParty(Struct, frozen=True):
    """This service, as browsers know it: its host, and the origin of its pages."""

    id: str
    origin: str

    def asked_to_make(self, challenge: bytes, account_id: str, known: Sequence[bytes]) -> Given:
        """Options for `navigator.credentials.create`. `known`: the account's, whose devices need no second one."""
        options = generate_registration_options(
            rp_id=self.id,
            rp_name="Sfumato",
            user_id=bytes.fromhex(account_id),
            user_name=f"Sfumato account {account_id[:6]}",  # what the device lists; there is no other name
            challenge=challenge,
            timeout=LIVES_S * 1000,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(each) for each in known],
        )
        return options_to_json_dict(options)

    def asked_to_sign(self, challenge: bytes) -> Given:
        """Options for `navigator.credentials.get`: any passkey of this site, so that nobody has to say who they are."""
        options = generate_authentication_options(
            rp_id=self.id,
            challenge=challenge,
            timeout=LIVES_S * 1000,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options)

    def made(self, given: Given, challenge: bytes) -> NewPasskey:
        """Raises NotGenuine."""
        try:
            verified = verify_registration_response(
                credential=given,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
            new = NewPasskey(verified.credential_id, verified.credential_public_key, verified.sign_count)
            _require_usable(new)
        except _MALFORMED as error:
            raise NotGenuine from error
        return new

    def signed(self, given: Given, challenge: bytes, passkey: PasskeyRow | None) -> int:
        """The device's count of signatures. Without a passkey all is checked as with one. Raises NotGenuine."""
        try:
            verified = verify_authentication_response(
                credential=given,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key if passkey else DECOY,
                credential_current_sign_count=passkey.sign_count if passkey else 0,
                require_user_verification=True,
            )
        except _MALFORMED as error:
            raise NotGenuine from error
        if passkey is None:
            raise NotGenuine
        return verified.new_sign_count


def challenge_in(given: Given) -> bytes:
    """The challenge that was answered, by the answer's own word. Raises NotGenuine."""
    try:
        return parse_client_data_json(base64url_to_bytes(given["response"]["clientDataJSON"])).challenge
    except _MALFORMED as error:
        raise NotGenuine from error


def credential_id_in(given: Given) -> bytes:
    """Raises NotGenuine."""
    try:
        return base64url_to_bytes(given["id"])
    except _MALFORMED as error:
        raise NotGenuine from error


def _require_usable(new: NewPasskey) -> None:
    """Raises NotGenuine for what no device makes, or what the library raises for a key that no signature fits."""
    if not SHORTEST_ID <= len(new.credential_id) <= LONGEST_ID or len(new.public_key) > LONGEST_KEY:
        raise NotGenuine
    key = decoded_public_key_to_cryptography(decode_credential_public_key(new.public_key))
    if isinstance(key, RSAPublicKey) and key.public_numbers().e != RSA_EXPONENT:
        raise NotGenuine


# the rows -------------------------------------------------------------------------------------------------------------


def add_passkey(db: Session, account: Owner, new: NewPasskey, label: str, now: float) -> PasskeyRow:
    """Raises TooManyPasskeys, KnownPasskey, AccountGone."""
    hold_account(db, account)
    if len(passkeys_of(db, account)) >= MOST_PASSKEYS:
        raise TooManyPasskeys
    if find_passkey(db, new.credential_id) is not None:
        raise KnownPasskey
    row = PasskeyRow(
        id=secrets.token_hex(16),
        account_id=account.id,
        credential_id=new.credential_id,
        public_key=new.public_key,
        sign_count=new.sign_count,
        label=label,
        created_on=day_of(now),
        last_used_on=None,
    )
    db.add(row)
    return row


def passkeys_of(db: Session, account: Owner) -> Sequence[PasskeyRow]:
    """Oldest first."""
    mine = select(PasskeyRow).where(PasskeyRow.account_id == account.id)
    return db.scalars(mine.order_by(PasskeyRow.created_on, PasskeyRow.id)).all()


def find_passkey(db: Session, credential_id: bytes) -> PasskeyRow | None:
    return db.scalar(select(PasskeyRow).where(PasskeyRow.credential_id == credential_id))


def note_signature(db: Session, passkey: PasskeyRow, sign_count: int, now: float) -> bool:
    """False where the same count was used at the same moment elsewhere, or the passkey has been removed."""
    is_as_checked = PasskeyRow.id == passkey.id, PasskeyRow.sign_count == passkey.sign_count
    noted = update(PasskeyRow).where(*is_as_checked).values(sign_count=sign_count, last_used_on=day_of(now))
    return bool(changed(db, noted))


def remove_passkey(db: Session, account: Owner, passkey_id: str) -> bool:
    """False where there is none. Raises LastWayIn, AccountGone. Recovery codes count for nothing: each works once."""
    hold_account(db, account)
    mine = PasskeyRow.account_id == account.id
    others = db.scalar(select(func.count()).select_from(PasskeyRow).where(mine, PasskeyRow.id != passkey_id))
    this = mine, PasskeyRow.id == passkey_id
    if db.scalar(select(PasskeyRow.id).where(*this)) is None:
        return False
    if not others:
        raise LastWayIn
    db.execute(delete(PasskeyRow).where(*this))
    return True
