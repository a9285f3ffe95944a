package jws

import "math/big"

// SignatureFromDER turns an ECDSA signature in DER, as crypto/ecdsa and cloud key services give it, into the R||S of
// RFC 7518 section 3.4. Only the one DER encoding of two integers in [1, n-1] is accepted: definite minimal lengths, minimal
// integers, nothing left over. Whether the signature verifies is for [PublicKey.Verify] to say. The error is an [*Error].
//
// Never guess from the bytes whether a signature is DER: R||S may begin with 0x30 too.
func SignatureFromDER(alg Alg, der []byte) ([]byte, error) {
	width := alg.width()
	if width == 0 {
		return nil, &Error{Code: UnknownAlg, Name: string(alg), Offset: -1, Detail: "only ECDSA signatures come in DER"}
	}
	body, start, ok := derSequence(der)
	if !ok {
		return nil, &Error{Code: NonCanonical, Part: "DER", Offset: 0, Detail: "want one SEQUENCE of minimal, definite length"}
	}
	sig := make([]byte, 2*width)
	order := alg.curve().Params().N
	for i, name := range []string{"r", "s"} {
		value, rest, ok := derInteger(body)
		if !ok {
			return nil, &Error{Code: NonCanonical, Part: "DER", Name: name, Offset: start, Detail: "want a minimal, positive INTEGER"}
		}
		if len(value) > width || new(big.Int).SetBytes(value).Cmp(order) >= 0 {
			return nil, &Error{Code: OutOfRange, Part: "DER", Name: name, Offset: start, Detail: "not below the order of the curve"}
		}
		copy(sig[(i+1)*width-len(value):], value)
		start += len(body) - len(rest)
		body = rest
	}
	if len(body) > 0 {
		return nil, &Error{Code: Trailing, Part: "DER", Offset: start}
	}
	return sig, nil
}

// derSequence returns the content of the SEQUENCE that der is, and where it starts. No ECDSA signature
// here is longer than 139 bytes, so one length byte behind 0x81 is the longest form there is.
func derSequence(der []byte) (body []byte, start int, ok bool) {
	if len(der) < 2 || der[0] != 0x30 {
		return nil, 0, false
	}
	length, start := int(der[1]), 2
	if der[1] == 0x81 && len(der) > 2 {
		length, start = int(der[2]), 3
		if length < 0x80 {
			return nil, 0, false
		}
	} else if length >= 0x80 {
		return nil, 0, false
	}
	if len(der)-start != length {
		return nil, 0, false
	}
	return der[start:], start, true
}

// derInteger takes a positive INTEGER off the front of der and returns its bytes without a leading zero.
func derInteger(der []byte) (value, rest []byte, ok bool) {
	if len(der) < 3 || der[0] != 0x02 {
		return nil, nil, false
	}
	length := int(der[1])
	if length == 0 || length >= 0x80 || len(der)-2 < length {
		return nil, nil, false
	}
	value, rest = der[2:2+length], der[2+length:]
	if value[0] == 0 && length > 1 {
		// A leading zero is there to keep the number positive, or it is one byte too many.
		value = value[1:]
		return value, rest, value[0] >= 0x80
	}
	return value, rest, 0 < value[0] && value[0] < 0x80
}

// maxDER is the longest DER that appendDER makes: two integers of 66 bytes, each with a zero before it, and the headers.
const maxDER = 3 + 2*(2+1+66)

// appendDER is the way back: it appends R||S as a DER SEQUENCE, which is what crypto/ecdsa verifies.
func appendDER(dst, sig []byte) []byte {
	r, s := trimZeros(sig[:len(sig)/2]), trimZeros(sig[len(sig)/2:])
	length := derIntegerSize(r) + derIntegerSize(s)
	dst = append(dst, 0x30)
	if length >= 0x80 {
		dst = append(dst, 0x81)
	}
	dst = append(dst, byte(length))
	return appendDERInteger(appendDERInteger(dst, r), s)
}

// trimZeros drops leading zero bytes, but keeps the last byte: zero is written as one.
func trimZeros(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

func derIntegerSize(value []byte) int {
	return 2 + len(value) + int(value[0]>>7)
}

func appendDERInteger(dst, value []byte) []byte {
	dst = append(dst, 0x02, byte(len(value)+int(value[0]>>7)))
	if value[0] >= 0x80 {
		dst = append(dst, 0)
	}
	return append(dst, value...)
}
