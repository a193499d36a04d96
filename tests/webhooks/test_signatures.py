import hashlib
import hmac
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.webhooks.signatures import gitea_signature_ok, plane_signature_ok

Verify = Callable[[bytes, bytes | None, Sequence[bytes]], bool]
SECRET = b"s3cret"
RAW = bytes.fromhex(
    "7b0a202022726566223a2022726566732f68656164732f6d61696e222c0a2020226e6f7465223a2022613c6220262063d182220a7d"
)
GOOD = b"dbfa5b22aa3365613ea97e080e1b5ab64cda7bf7783c24a417e6fa6682af6303"


def digest(secret: bytes, raw: bytes = RAW) -> bytes:
    return hmac.new(secret, raw, hashlib.sha256).hexdigest().encode()


def test_the_contracts_check_value_verifies() -> None:
    assert gitea_signature_ok(RAW, GOOD, [SECRET])
    assert gitea_signature_ok(RAW, b"sha256=" + GOOD, [SECRET])
    assert plane_signature_ok(RAW, GOOD, [SECRET])


@pytest.mark.parametrize("verify", [plane_signature_ok, gitea_signature_ok])
@pytest.mark.parametrize(
    "claimed",
    [
        None,
        b"",
        b"sha256=",
        GOOD[:-1],
        GOOD + b"0",
        GOOD[:-1] + b"4",
        b"e" + GOOD[1:],
        GOOD.upper(),
        b" " + GOOD,
        b"sha1=" + GOOD,
        b"sha256=sha256=" + GOOD,
        GOOD[:-1] + b"\xb3",
        b"\xff" * 64,
        b"0" * 64,
        digest(b"other"),
        hmac.new(SECRET, RAW, hashlib.sha1).hexdigest().encode(),
        hashlib.sha256(RAW).hexdigest().encode(),
    ],
)
def test_no_other_signature_verifies(verify: Verify, claimed: bytes | None) -> None:
    assert verify(RAW, claimed, [SECRET]) is False


def test_plane_never_sends_a_prefix() -> None:
    assert not plane_signature_ok(RAW, b"sha256=" + GOOD, [SECRET])


@pytest.mark.parametrize("verify", [plane_signature_ok, gitea_signature_ok])
def test_an_empty_secret_or_none_at_all_never_verifies(verify: Verify) -> None:
    assert verify(RAW, digest(b""), [b""]) is False
    assert verify(RAW, digest(b""), []) is False
    assert verify(RAW, GOOD, []) is False
    assert verify(RAW, b"", [b""]) is False
    assert verify(b"", digest(b"", b""), [b""]) is False


@pytest.mark.parametrize("place", range(3))
def test_every_secret_of_the_list_is_tried(place: int) -> None:
    secrets = [b"", b"old", b"new"]
    secrets[place] = SECRET
    assert plane_signature_ok(RAW, GOOD, secrets)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 500])
def test_secrets_of_every_length_sign_as_the_standard_library_says(length: int) -> None:
    secret = bytes(range(1, 256))[:length].ljust(length, b"x")
    assert plane_signature_ok(RAW, digest(secret), [secret])
    assert not plane_signature_ok(RAW, digest(secret + b"x"), [secret])


def test_a_verification_leaves_nothing_behind_for_the_next() -> None:
    for raw in (RAW, b"", RAW * 3):
        assert plane_signature_ok(raw, digest(SECRET, raw), [b"other", SECRET])
        assert not plane_signature_ok(raw + b" ", digest(SECRET, raw), [SECRET])


@settings(deadline=None)
@given(raw=st.binary(), claimed=st.binary(), secret=st.binary())
def test_rubbish_is_refused_and_raises_nothing(raw: bytes, claimed: bytes, secret: bytes) -> None:
    assert not gitea_signature_ok(raw, claimed, [secret])


@settings(deadline=None)
@given(raw=st.binary(), secret=st.binary(min_size=1))
def test_what_the_secret_signed_verifies(raw: bytes, secret: bytes) -> None:
    assert plane_signature_ok(raw, digest(secret, raw), [secret])
