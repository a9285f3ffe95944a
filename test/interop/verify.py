"""Verifies a token with PyJWT, knowing nothing but the URL of the served JWK Set and what it expects the token to say.

usage: python3 verify.py JWKS_URL ISSUER AUDIENCE TYP < token
"""

import json
import sys

import jwt

url, issuer, audience, typ = sys.argv[1:5]
token = sys.stdin.read().strip()

try:
    key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
    header = jwt.get_unverified_header(token)
    if header["typ"] != typ:
        raise jwt.InvalidTokenError("typ is " + header["typ"])
    claims = jwt.decode(
        token,
        key.key,
        algorithms=[key._jwk_data["alg"]],  # the key's own, never the token's
        issuer=issuer,
        audience=audience,
        options={"require": ["exp", "iat", "jti", "iss", "aud"]},
    )
    print(json.dumps({"accepted": True, "alg": header["alg"], "kid": header["kid"], "sub": claims["sub"]}))
except (jwt.PyJWTError, jwt.exceptions.PyJWKClientError) as err:
    print(json.dumps({"accepted": False, "why": str(err)}))
