// Verifies a token with npm's jose, knowing nothing but the URL of the served JWK Set and what it expects the token to say.
// usage: node verify.mjs JWKS_URL ISSUER AUDIENCE TYP < token
import { createRemoteJWKSet, jwtVerify } from "jose";

const [url, issuer, audience, typ] = process.argv.slice(2);
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const token = Buffer.concat(chunks).toString().trim();

try {
  const { payload, protectedHeader } = await jwtVerify(token, createRemoteJWKSet(new URL(url)), {
    issuer, audience, typ, requiredClaims: ["exp", "iat", "jti"],
  });
  console.log(JSON.stringify({ accepted: true, alg: protectedHeader.alg, kid: protectedHeader.kid, sub: payload.sub }));
} catch (err) {
  console.log(JSON.stringify({ accepted: false, why: err.code ?? err.message }));
}
