"""Every kind of forged, altered or misused token that is tried, one generator a kind."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from itertools import product

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.api_client import SECRET
from tests.integration.forge import (
    HS256,
    KINDS,
    USER,
    Keys,
    b64,
    claims,
    es,
    hs,
    jwk,
    kind,
    ps,
    rs,
    token,
    unb64,
    unsigned,
    with_claims,
    with_header,
)

__all__ = ["KINDS"]


@kind("alg none")
def _none(keys: Keys, _url: str) -> Iterator[str]:
    for alg in ("none", "None", "NONE", "nOnE", " none", "none\0", "", None, False, 0, ["none"]):
        for sign, more in product((unsigned, hs(SECRET), hs("")), ({}, {"kid": "rsa"}, {"kid": "none"})):
            yield token({"alg": alg} | more, claims(), sign)
    yield token({"typ": "JWT"}, claims(), unsigned)
    yield token({"typ": "JWT"}, claims(), hs(SECRET))
    yield token({"alg": "none"}, claims(), unsigned).rstrip(".")


@kind("another secret")
def _secret(keys: Keys, _url: str) -> Iterator[str]:
    guesses = ["", " ", "secret", "change-me", "authenticated", SECRET[:-1], SECRET + "\n"]
    guesses += [SECRET.upper(), SECRET[::-1], b64(SECRET.encode()), SECRET.encode().hex(), "none", "null"]
    guesses += ["super-secret-jwt-token-with-at-least-32-characters-long", "your-256-bit-secret"]
    for guess, more in product(guesses, ({}, {"kid": "rsa"}, {"kid": ""})):
        yield token(HS256 | more, claims(), hs(guess))


@kind("a public key as the secret")
def _confusion(keys: Keys, _url: str) -> Iterator[str]:
    for key, kid in ((keys.rsa, "rsa"), (keys.curve, "curve")):
        public = key.public_key()
        spki = PublicFormat.SubjectPublicKeyInfo
        formats = [(Encoding.PEM, spki), (Encoding.DER, spki)]
        if kid == "rsa":
            formats += [(Encoding.PEM, PublicFormat.PKCS1), (Encoding.DER, PublicFormat.PKCS1)]
            formats += [(Encoding.OpenSSH, PublicFormat.OpenSSH)]
        else:
            formats += [(Encoding.X962, PublicFormat.UncompressedPoint)]
        written = [public.public_bytes(*how) for how in formats]
        pem = written[0]
        written += [pem.strip(), pem.replace(b"\n", b"\r\n"), b"".join(pem.split(b"\n")[1:-2])]
        listed = next(entry for entry in keys.listed() if entry["kid"] == kid)
        written += [json.dumps(listed).encode(), json.dumps(listed, separators=(",", ":")).encode()]
        written += [str(listed[name]).encode() for name in ("n", "x", "y", "kid") if name in listed]
        written += [unb64(listed[name]) for name in ("n", "x", "y") if name in listed]
        for secret, digest, more in product(written, ("256", "384", "512"), ({}, {"kid": kid})):
            yield token({"alg": f"HS{digest}"} | more, claims(), hs(secret, f"sha{digest}"))
        for secret, alg in product(written, ("RS256", "ES256")):
            yield token({"alg": alg, "kid": kid}, claims(), hs(secret))


@kind("a key of another's")
def _other_key(keys: Keys, _url: str) -> Iterator[str]:
    for kid in ("rsa", "curve", "unknown", ""):
        yield token({"alg": "RS256", "kid": kid}, claims(), rs(keys.other_rsa))
        yield token({"alg": "ES256", "kid": kid}, claims(), es(keys.other_curve))
        yield token({"alg": "ES256", "kid": kid}, claims(), es(keys.p384))
        yield token({"alg": "ES256", "kid": kid}, claims(), es(keys.bitcoin))
        yield token({"alg": "HS256", "kid": kid}, claims(), hs(keys.shared))


@kind("a key that is listed and not taken")
def _listed(keys: Keys, _url: str) -> Iterator[str]:
    yield token({"alg": "RS256", "kid": "weak"}, claims(), rs(keys.weak_rsa))
    yield token({"alg": "ES384", "kid": "p384"}, claims(), es(keys.p384, hashes.SHA384()))
    yield token({"alg": "ES256", "kid": "p384"}, claims(), es(keys.p384))
    yield token({"alg": "ES256", "kid": "p384 as es256"}, claims(), es(keys.p384))
    yield token({"alg": "ES256K", "kid": "bitcoin"}, claims(), es(keys.bitcoin))
    yield token({"alg": "ES256", "kid": "bitcoin as es256"}, claims(), es(keys.bitcoin))
    yield token({"alg": "EdDSA", "kid": "edwards"}, claims(), keys.edwards.sign)
    yield token({"alg": "RS256", "kid": "for secrets"}, claims(), rs(keys.other_rsa))
    yield token({"alg": "ES256", "kid": "for agreeing"}, claims(), es(keys.other_curve))
    yield token({"alg": "ES256", "kid": "leaked"}, claims(), es(keys.leaked))
    for alg, kid in product(("HS256", "RS256"), ("shared", "shared as rs256")):
        yield token({"alg": alg, "kid": kid}, claims(), hs(keys.shared))
    yield token({"alg": "RS256", "kid": "none"}, claims(), rs(keys.other_rsa))
    yield token({"alg": "none", "kid": "none"}, claims(), unsigned)
    yield token({"alg": "ES256", "kid": 7}, claims(), es(keys.other_curve))


@kind("the kid of another key")
def _kid(keys: Keys, _url: str) -> Iterator[str]:
    yield token({"alg": "RS256", "kid": "curve"}, claims(), rs(keys.rsa))
    yield token({"alg": "ES256", "kid": "rsa"}, claims(), es(keys.curve))
    odd = ["", " ", "RSA", "rsa ", "rsa\0", "0", 0, -1, 1.5, True, ["rsa"], {"kid": "rsa"}, None]
    odd += ["../../../../dev/null", "/dev/null", "file:///etc/passwd", "' OR '1'='1", "$(id)", "r" * 4000]
    for kid in odd:
        yield token({"alg": "RS256", "kid": kid}, claims(), rs(keys.rsa))
        yield token({"alg": "ES256", "kid": kid}, claims(), es(keys.curve))
        yield token({"alg": "HS256", "kid": kid}, claims(), hs(""))
    yield token({"alg": "RS256"}, claims(), rs(keys.rsa))
    yield token({"alg": "ES256"}, claims(), es(keys.curve))


@kind("an algorithm that is not taken")
def _algorithm(keys: Keys, _url: str) -> Iterator[str]:
    for digest in ("384", "512"):
        yield token({"alg": f"HS{digest}"}, claims(), hs(SECRET, f"sha{digest}"))
        yield token({"alg": f"HS{digest}"}, claims(), hs(SECRET))
        wider = {"384": hashes.SHA384(), "512": hashes.SHA512()}[digest]
        yield token({"alg": f"RS{digest}", "kid": "rsa"}, claims(), rs(keys.rsa, wider))
        yield token({"alg": f"ES{digest}", "kid": "curve"}, claims(), es(keys.curve, wider))
    yield token({"alg": "PS256", "kid": "rsa"}, claims(), ps(keys.rsa))
    yield token({"alg": "RS256", "kid": "rsa"}, claims(), ps(keys.rsa))
    yield token({"alg": "ES256K", "kid": "curve"}, claims(), es(keys.curve))
    for alg in ("hs256", "Hs256", "HS256 ", "HS256\0", ["HS256"], {"HS256": 1}, 256, True, "HS1", "A256KW"):
        yield token({"alg": alg}, claims(), hs(SECRET))
    for alg in ("rs256", "RS256 ", ["RS256"], "RSA", "RS1"):
        yield token({"alg": alg, "kid": "rsa"}, claims(), rs(keys.rsa))


@kind("another audience")
def _audience(keys: Keys, _url: str) -> Iterator[str]:
    wrong = ["other", "", "AUTHENTICATED", "authenticated ", "authenticated,other", "anon", "*", [], [""]]
    wrong += [["other"], ["authenticated "], [["authenticated"]], {"authenticated": True}, 1, True, None, ...]
    for aud in wrong:
        yield from with_claims(keys, claims(aud=aud))


@kind("expired")
def _expired(keys: Keys, _url: str) -> Iterator[str]:
    now = int(time.time())
    for exp in (now - 31, now - 60, now - 3600, now - 10**8, 1, 0):
        yield from with_claims(keys, claims(exp=exp))
        yield from with_claims(keys, claims(exp=float(exp)))


@kind("no end, or one that is no time")
def _end(keys: Keys, _url: str) -> Iterator[str]:
    for exp in (..., None, "", "9999999999", "never", -1, True, [9999999999], {}, 10**18, 1e300, 10**400):
        yield from with_claims(keys, claims(exp=exp))
    for exp in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"0x7fffffff", b"9" * 5000):
        yield from with_claims(
            keys, json.dumps(claims(exp=0)).encode().replace(b'"exp": 0', b'"exp": ' + exp)
        )


@kind("not valid yet")
def _early(keys: Keys, _url: str) -> Iterator[str]:
    now = int(time.time())
    for name, later in product(("nbf", "iat"), (40, 3600, 10**8)):
        yield from with_claims(keys, claims(**{name: now + later}))
    for name, wrong in product(("nbf", "iat"), ("", "0", True, [0], {}, -1, 1e300)):
        yield from with_claims(keys, claims(**{name: wrong}))


@kind("no user")
def _subject(keys: Keys, _url: str) -> Iterator[str]:
    wrong = [..., None, "", "admin", "0", 0, 1, True, [str(USER)], {"id": str(USER)}, str(USER)[:-1]]
    wrong += [f"{USER}0", f"{USER} ", f"{USER}\0", f"{USER}'--", f'{USER}","role":"x', "*", "%", "00000000"]
    for sub in wrong:
        yield from with_claims(keys, claims(sub=sub))


@kind("another role")
def _role(keys: Keys, _url: str) -> Iterator[str]:
    wrong = [
        ...,
        None,
        "",
        "anon",
        "AUTHENTICATED",
        "authenticated ",
        "service_role ",
        "Service_Role",
        "admin",
    ]
    wrong += ["supabase_admin", "postgres", "trainyard_user", "api_key", 1, True, ["authenticated"], {}]
    for role in wrong:
        yield from with_claims(keys, claims(role=role))
    for aud in ("other", [], ["other"], ""):  # a service's token names no audience, or ours
        yield from with_claims(keys, claims(role="service_role", sub=..., aud=aud))


@kind("cut short")
def _cut(keys: Keys, _url: str) -> Iterator[str]:
    for whole in with_claims(keys, claims()):
        yield from (whole[:n] for n in range(1, len(whole), 3))
        yield from (whole[n:] for n in range(1, len(whole), 7))
        first, second, third = whole.split(".")
        yield from (f"{first}.{second}.", f"{first}..{third}", f".{second}.{third}", f"{first}.{second}")


@kind("a bit of the signature flipped")
def _flipped(keys: Keys, _url: str) -> Iterator[str]:
    for whole in with_claims(keys, claims()):
        head, _, signature = whole.rpartition(".")
        raw = unb64(signature)
        for bit in range(0, len(raw) * 8, max(1, len(raw) * 8 // 256)):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            yield f"{head}.{b64(bytes(changed))}"
        yield from (f"{head}.{b64(made)}" for made in (bytes(len(raw)), raw[::-1], raw + b"\0", b"\0" + raw))


@kind("a character of header or payload changed")
def _changed(keys: Keys, _url: str) -> Iterator[str]:
    for whole in with_claims(keys, claims()):
        signed = whole.rpartition(".")[0]
        for at, old in enumerate(signed):
            if old != ".":
                yield signed[:at] + ("A" if old != "A" else "B") + whole[at + 1 :]


@kind("the payload of another token")
def _swapped(keys: Keys, _url: str) -> Iterator[str]:
    wanted = [
        claims(sub=str(uuid.uuid4())),
        claims(role="service_role"),
        claims(exp=int(time.time()) + 10**6),
    ]
    for whole, payload in product(with_claims(keys, claims()), wanted):
        first, _, third = whole.split(".")
        yield f"{first}.{b64(json.dumps(payload).encode())}.{third}"
    for one, other in product(with_claims(keys, claims()), with_claims(keys, claims(jti="2"))):
        yield f"{one.rpartition('.')[0]}.{other.rpartition('.')[2]}"


@kind("laid out in another way")
def _layout(keys: Keys, _url: str) -> Iterator[str]:
    for whole in with_claims(keys, claims()):
        first, second, third = whole.split(".")
        yield from (f"{first}=.{second}.{third}", f"{first}.{second}==.{third}", f"{whole}=", f"{whole}==")
        yield from (f"{whole}.", f".{whole}", f"{whole}..", f"{first}..{second}.{third}", f"{whole}.{third}")
        yield from (f"{first} .{second}.{third}", f"{first}.{second}.\t{third}", f"{whole[:40]} {whole[40:]}")
        yield from (whole.replace(".", sep) for sep in (":", "%2E", ",", "/", "..", "\u3002"))
        yield from (
            f'"{whole}"',
            f"'{whole}'",
            f"<{whole}>",
            f"{whole};",
            f"{whole},{whole}",
            whole.swapcase(),
        )
        plain = base64.b64encode(unb64(first) + b" " * (-len(unb64(first)) % 3)).decode()
        yield f"{plain}+/.{second}.{third}"
        parts = {"protected": first, "payload": second, "signature": third}
        yield json.dumps(parts)  # the JSON serialisation (RFC 7515, section 7.2)
        yield json.dumps({"payload": second, "signatures": [{"protected": first, "signature": third}]})
        yield b64(json.dumps(parts).encode())


@kind("a claim twice")
def _twice(keys: Keys, _url: str) -> Iterator[str]:
    whole = json.dumps(claims())[1:-1].encode()
    for more in (
        b'"role": "anon"',
        b'"role": "authenticated"',
        b'"role": "service_role"',
        b'"sub": "0198c2f0-6c1e-4cc1-8d6c-000000000000"',
        b'"exp": 9999999999',
        b'"aud": "authenticated"',
        b'"\\u0065xp": 9999999999',
    ):
        yield from with_claims(keys, b"{" + more + b", " + whole + b"}")
        yield from with_claims(keys, b"{" + whole + b", " + more + b"}")
    yield from with_claims(keys, b"{" + whole + b', "app_metadata": {"a": 1, "a": 2}}')
    for first, second in (("none", "HS256"), ("HS256", "none"), ("HS256", "HS256"), ("RS256", "HS256")):
        yield token(f'{{"alg": "{first}", "alg": "{second}"}}'.encode(), claims(), hs(SECRET))


@kind("an extension that has to be understood")
def _critical(keys: Keys, _url: str) -> Iterator[str]:
    odd = [["b64"], ["exp"], ["x"], [], "b64", None, {}, ["b64", "b64"], [1]]
    for crit in odd:
        yield from with_header(keys, crit=crit)
    for more in ({"b64": False, "crit": ["b64"]}, {"b64": False}, {"b64": True}, {"exp": 1, "crit": ["exp"]}):
        yield from with_header(keys, **more)
    for zipped in ("DEF", "GZIP"):
        yield from with_header(keys, zip=zipped)
    # the payload beside the token (RFC 7797)
    header = {"alg": "HS256", "b64": False, "crit": ["b64"]}
    first, body = b64(json.dumps(header).encode()), json.dumps(claims())
    yield f"{first}..{b64(hs(SECRET)(f'{first}.{body}'.encode()))}"


@kind("made for something else")
def _type(keys: Keys, _url: str) -> Iterator[str]:
    for typ in ("dpop+jwt", "secevent+jwt", "logout+jwt", "JWE", "JOSE", "JOSE+JSON", "", "jwt ", 1, ["JWT"]):
        yield from with_header(keys, typ=typ)
    for inner in with_claims(keys, claims()):  # a token in a token
        for header, sign in keys.right().values():
            yield token(header | {"cty": "JWT"}, inner.encode(), sign)
            yield token(header | {"cty": "JWT"}, json.dumps(inner).encode(), sign)


@kind("a key brought along, or pointed at")
def _brought(keys: Keys, url: str) -> Iterator[str]:
    curve, of_rsa = jwk(keys.other_curve, kid="mine"), jwk(keys.other_rsa, kid="mine")
    certificate = base64.b64encode(
        keys.other_rsa.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    for kid in ("rsa", "curve", "mine", "unknown", None):
        named = {"kid": kid} if kid else {}
        for more in ({"jwk": of_rsa}, {"jku": url}, {"x5u": url}, {"x5c": [certificate]}, {"x5t": "AAAA"}):
            yield token({"alg": "RS256"} | named | more, claims(), rs(keys.other_rsa))
        for more in ({"jwk": curve}, {"jku": url}, {"jku": f"{url}#rsa"}, {"x5u": url}):
            yield token({"alg": "ES256"} | named | more, claims(), es(keys.other_curve))
        mine = {"kty": "oct", "k": b64(b"m" * 32), "alg": "HS256"}
        yield token({"alg": "HS256", "jwk": mine} | named, claims(), hs(b"m" * 32))
        yield token({"alg": "HS256", "jku": url} | named, claims(), hs(b"m" * 32))
    yield from (
        token({"alg": "ES256", "kid": where}, claims(), es(keys.other_curve)) for where in (url, f"{url}?")
    )


@kind("huge")
def _huge(keys: Keys, _url: str) -> Iterator[str]:
    for size in (8_000, 20_000, 300_000):
        yield from with_claims(keys, claims(filler="x" * size))
        yield from with_header(keys, filler="x" * size)
    yield from ("a" * 8193, "a" * 10**6, "." * 8192, "." * 10**6, "e30." * 2000, "e30." * 10**5)
    for deep in (1_000, 5_000):
        yield from with_claims(keys, b'{"a": ' * deep + b"1" + b"}" * deep)
        nested = json.dumps(claims())[:-1].encode() + b', "a": ' + b"[" * deep + b"]" * deep + b"}"
        yield from with_claims(keys, b"[" * deep)
        if len(nested) * 4 // 3 > 8192:
            yield from with_claims(keys, nested)
        yield token(b'{"alg": "HS256", "a": ' + b"[" * deep, claims(), hs(SECRET))


@kind("characters that do not belong there")
def _characters(keys: Keys, _url: str) -> Iterator[str]:
    for whole in with_claims(keys, claims()):
        for odd in ("é", "\xa0", "\xad", "\xff", "ÿ", "\x7f", "\x01"):
            yield from (f"{whole}{odd}", f"{odd}{whole}", f"{whole[:50]}{odd}{whole[50:]}")
    text = json.dumps(claims())
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
        yield from with_claims(keys, text.encode(encoding))
        yield token(json.dumps(HS256).encode(encoding), claims(), hs(SECRET))
    yield from with_claims(keys, text.encode() + b"\0")
    yield from with_claims(keys, b"\xff" + text.encode())


@kind("encrypted (JWE)")
def _encrypted(keys: Keys, _url: str) -> Iterator[str]:
    for alg in ("dir", "RSA-OAEP", "A256KW", "ECDH-ES", "PBES2-HS256+A128KW"):
        header = {"alg": alg, "enc": "A256GCM", "kid": "rsa", "p2c": 2**31}
        parts = [json.dumps(header).encode(), b"k" * 32, b"i" * 12, json.dumps(claims()).encode(), b"t" * 16]
        yield ".".join(b64(part) for part in parts)
        yield ".".join(b64(part) for part in (parts[0], b"", parts[2], parts[3], parts[4]))
    yield from with_header(keys, enc="A256GCM")


@kind("payloads that are none")
def _payload(keys: Keys, _url: str) -> Iterator[str]:
    for payload in (b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"{}", b"{'sub': 1}", b"\0", b"[{}]"):
        yield from with_claims(keys, payload)
        yield token(payload, claims(), hs(SECRET))
    for header in ({}, {"typ": "JWT"}, {"kid": "rsa"}):
        yield token(header, claims(), hs(SECRET))


@kind("nothing like a token")
def _nothing(keys: Keys, _url: str) -> Iterator[str]:
    yield from (
        "..",
        ".",
        "...",
        "a",
        "a.b",
        "a.b.c",
        "x.y.z",
        "null",
        "undefined",
        "none",
        "0",
        "true",
        "{}",
    )
    yield from ("Bearer", "bearer bearer", "eyJ", "eyJ.eyJ.eyJ", "e30.e30.", "e30.e30.e30", SECRET, str(USER))
    yield from ("ty_", "ty_aaaaaaaa", "ty_aaaaaaaa_", f"ty_aaaaaaaa_{'A' * 43}", f"ty_aaaaaaaa_{'A' * 44}")
    yield from ("ty_' OR true --", "TY_aaaaaaaa_" + "A" * 43, "ty_" + "a" * 10**5, "sb_secret_x", "ghp_x")
    yield from (
        "trainyard_session",
        "admin:admin",
        "YWRtaW46YWRtaW4=",
        "../../etc/passwd",
        "${jndi:ldap://x}",
    )
