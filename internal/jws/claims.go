package jws

// ParseClaims reads the payload of a token: one object by the rules of [ParseObject], in which the claims RFC 7519 registers
// have the types it gives them: iss, sub and jti strings, aud a string or an array of strings, exp, nbf and iat dates. None
// is required here. maxBytes bounds the payload; 0 means DefaultMaxBytes. The error is an [*Error].
func ParseClaims(payload []byte, maxBytes int) ([]Member, error) {
	members, err := ParseObject(payload, maxBytes, DefaultMaxDepth)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		switch m.Name {
		case "iss", "sub", "jti":
			_, err = m.Text()
		case "aud":
			_, err = m.Strings()
		case "exp", "nbf", "iat":
			_, err = m.NumericDate()
		}
		if err != nil {
			return nil, err
		}
	}
	return members, nil
}
