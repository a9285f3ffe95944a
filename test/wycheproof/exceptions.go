package wycheproof

// An exception is a vector whose result we contradict on purpose.
type exception struct {
	accept bool   // we accept what the file calls invalid; if false, we refuse what it calls valid
	why    string // shown with the figures
}

// exceptions lists them by file and tcId. There are no others.
var exceptions = map[string]map[int]exception{
	"json_web_signature_test.json": {
		367: {true, "byte for byte the valid token of #357"},
		370: {true, "byte for byte the valid token of #357"},
		346: {false, "the key says PS256, the token PS384 (RFC 7520 figure 20)"},
		350: {false, "the key says PS256, the token PS384 (RFC 7520 figure 20)"},
		347: {false, "the key's alg ES521 is not a registered algorithm"},
		351: {false, "the key's alg ES521 is not a registered algorithm"},
		372: {false, "a stray character in base64url, which RFC 8725's revision says to refuse"},
		373: {false, "a stray character in base64url, which RFC 8725's revision says to refuse"},
	},
	"json_web_crypto_test.json": {
		50: {false, "a JWE; this is not a reader of encrypted tokens"},
		67: {false, "a JWE; this is not a reader of encrypted tokens"},
	},
}
