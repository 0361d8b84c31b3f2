"""Tokens made by hand, the right ones and all the others, and a key server that a test runs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.integration.api_client import SECRET

Sign = Callable[[bytes], bytes]
Json = dict[str, Any]

USER = uuid.UUID("0198c2f0-6c1e-4cc1-8d6c-0c4b3c0a9d11")


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def token(header: Json | bytes, payload: Json | bytes, sign: Sign) -> str:
    """A JWS in its compact form (RFC 7515, section 7.1), whatever it says."""
    parts = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, payload)]
    signed = ".".join(b64(part) for part in parts)
    return f"{signed}.{b64(sign(signed.encode()))}"


def claims(**changed: Any) -> Json:
    """A user's; a claim given as `...` is left out."""
    payload = {
        "sub": str(USER),
        "aud": "authenticated",
        "role": "authenticated",
        "exp": int(time.time()) + 600,
    } | changed
    return {name: value for name, value in payload.items() if value is not ...}


def hs(secret: str | bytes, digest: str = "sha256") -> Sign:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda signed: hmac.new(key, signed, getattr(hashlib, digest)).digest()


def rs(key: rsa.RSAPrivateKey, digest: hashes.HashAlgorithm | None = None) -> Sign:
    return lambda signed: key.sign(signed, padding.PKCS1v15(), digest or hashes.SHA256())


def ps(key: rsa.RSAPrivateKey) -> Sign:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return lambda signed: key.sign(signed, pss, hashes.SHA256())


def es(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm | None = None) -> Sign:
    size = (key.curve.key_size + 7) // 8

    def sign(signed: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest or hashes.SHA256())))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def unsigned(_signed: bytes) -> bytes:
    return b""


def jwk(key: Any, **more: Any) -> Json:
    """The public half."""
    public = key.public_key()
    kinds = {
        rsa.RSAPublicKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePublicKey: jwt.algorithms.ECAlgorithm,
    }
    of = next((a for kind, a in kinds.items() if isinstance(public, kind)), jwt.algorithms.OKPAlgorithm)
    return {**json.loads(of.to_jwk(public)), **more}


class KeyServer:
    """Serves what it is told to at any path, in a thread of its own, and counts who asked for what."""

    def __init__(self) -> None:
        self.body: bytes = b'{"keys": []}'
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""
        self.answering = threading.Event()
        """Cleared: it takes the question and says nothing."""
        self.answering.set()

    def serve(self, *keys: Json) -> None:
        self.status, self.headers, self.body = 200, {}, json.dumps({"keys": keys}).encode()


@contextmanager
def key_server() -> Iterator[KeyServer]:
    told = KeyServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            told.answering.wait()
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: Any) -> None:
            """Tests tell what went wrong themselves."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
    try:
        yield told
    finally:
        told.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Keys:
    """The identity provider's, and keys that should not be taken though they are listed: their private
    halves are known here, so a token can be signed with each."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.curve = ec.generate_private_key(ec.SECP256R1())
        self.other_rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other_curve = ec.generate_private_key(ec.SECP256R1())
        self.weak_rsa = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
        self.p384 = ec.generate_private_key(ec.SECP384R1())
        self.bitcoin = ec.generate_private_key(ec.SECP256K1())
        self.edwards = ed25519.Ed25519PrivateKey.generate()
        self.leaked = ec.generate_private_key(ec.SECP256R1())
        self.shared = b"a secret that somebody put into the set of public keys"

    def listed(self) -> list[Json]:
        leaked = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.leaked))
        return [
            jwk(self.rsa, kid="rsa", alg="RS256", use="sig"),
            jwk(self.curve, kid="curve", use="sig", key_ops=["verify"]),
            jwk(self.weak_rsa, kid="weak"),
            jwk(self.p384, kid="p384"),
            jwk(self.p384, kid="p384 as es256", alg="ES256"),
            jwk(self.bitcoin, kid="bitcoin"),
            jwk(self.bitcoin, kid="bitcoin as es256", alg="ES256"),
            jwk(self.edwards, kid="edwards"),
            jwk(self.other_rsa, kid="for secrets", use="enc"),
            jwk(self.other_curve, kid="for agreeing", key_ops=["deriveKey"]),
            {**leaked, "kid": "leaked"},
            {"kty": "oct", "kid": "shared", "k": b64(self.shared), "alg": "HS256"},
            {"kty": "oct", "kid": "shared as rs256", "k": b64(self.shared), "alg": "RS256"},
            jwk(self.other_rsa, kid="none", alg="none"),
            {"kty": "nonsense", "kid": "nonsense"},
            {"kty": "RSA", "kid": "half", "n": "AQAB"},
            {"kty": "RSA", "kid": "numbers", "n": 1, "e": 2},
            jwk(self.other_curve, kid=7),
        ]

    def right(self) -> dict[str, tuple[Json, Sign]]:
        """The three ways of signing that are taken: header and signature."""
        return {
            "HS256": ({"alg": "HS256", "typ": "JWT"}, hs(SECRET)),
            "RS256": ({"alg": "RS256", "kid": "rsa"}, rs(self.rsa)),
            "ES256": ({"alg": "ES256", "kid": "curve"}, es(self.curve)),
        }


Forge = Callable[[Keys, str], Iterator[str]]
"""Given the keys and the address of a key server that an attacker runs."""

KINDS: dict[str, Forge] = {}
HS256 = {"alg": "HS256", "typ": "JWT"}


def kind(name: str) -> Callable[[Forge], Forge]:
    def add(forge: Forge) -> Forge:
        KINDS[name] = forge
        return forge

    return add


def with_claims(keys: Keys, payload: Json | bytes) -> Iterator[str]:
    """Signed as it should be, in each of the three ways."""
    for header, sign in keys.right().values():
        yield token(header, payload, sign)


def with_header(keys: Keys, **more: Any) -> Iterator[str]:
    for header, sign in keys.right().values():
        yield token(header | more, claims(), sign)
