"""Creates tokens with PyJWT, and presents tokens to a server."""

import json
import os
import sys
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


def make(folder: Path) -> dict:
    """Creates a key for each algorithm as PEM, and valid and invalid tokens."""
    secret = os.environ["TOKEN_SECRET"]
    claims = {"sub": "ann", "exp": int(time.time()) + 600}
    kinds = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "PS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    good = {"HS256": jwt.encode(claims, secret, "HS256")}
    for alg, key in kinds.items():
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / f"{alg}.private.pem").write_bytes(private)
        (folder / f"{alg}.public.pem").write_bytes(public)
        good[alg] = jwt.encode(claims, key, alg)
    public = (folder / "RS256.public.pem").read_bytes()
    other = ed25519.Ed25519PrivateKey.generate()
    # PyJWT refuses to use a public key as a secret; an attacker does not.
    unsigned = jwt.encode(claims, "x" * 32, "HS256").rsplit(".", 1)[0]
    confused = jwt.utils.base64url_encode(
        jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(unsigned.encode(), public)
    )
    bad = {
        "a token that has expired": jwt.encode({**claims, "exp": 1}, secret, "HS256"),
        "a token that is not yet valid": jwt.encode({**claims, "nbf": claims["exp"]}, secret, "HS256"),
        "a token for another audience": jwt.encode({**claims, "aud": "another"}, secret, "HS256"),
        "a token without a signature": jwt.encode(claims, None, "none"),
        "a token signed by an unknown key": jwt.encode(claims, other, "EdDSA"),
        "a token with a public key as the secret": f"{unsigned}.{confused.decode()}",
        "a token without an expiry": jwt.encode({"sub": "ann"}, secret, "HS256"),
    }
    return {"good": good, "bad": bad}


def is_accepted(url: str, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with connect(url, subprotocols=["offhook.v1.json"], additional_headers=headers, proxy=None) as socket:
            socket.send('{"type":"connect","id":1}')
            return json.loads(socket.recv(timeout=30)).get("user") == "ann"
    except InvalidStatus as refused:
        if refused.response.status_code != 401:
            print(f"refused with {refused.response.status_code}, not 401", flush=True)
        return False


def check(url: str, wanted: list) -> None:
    for name, token, good in wanted:
        word = "accepted" if good else "refused"
        print(f"ok {name} is {word}" if is_accepted(url, token) == good else f"{name} is not {word}", flush=True)
    print("done", flush=True)


if sys.argv[1] == "make":
    print(json.dumps(make(Path(sys.argv[2]))))
else:
    check(sys.argv[2], json.loads(sys.argv[3]))
