package jws

import (
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// A Kind is the type of a JSON value. The zero value is none.
type Kind int

// The kinds of RFC 8259 section 3.
const (
	Object Kind = 1 + iota
	Array
	String
	Number
	True
	False
	Null
)

// String returns the kind as RFC 8259 writes it.
func (k Kind) String() string {
	switch k {
	case Object:
		return "object"
	case Array:
		return "array"
	case String:
		return "string"
	case Number:
		return "number"
	case True:
		return "true"
	case False:
		return "false"
	case Null:
		return "null"
	}
	return "no kind"
}

// A Member is a name and a value of a JSON object, as [ParseObject] found them.
type Member struct {
	Name   string // unescaped
	Kind   Kind
	Raw    []byte // the value's bytes as they stand in the input, which they alias
	Offset int    // of the name's opening quote in the input
}

// Text returns the string the value is, unescaped; an [*Error] with code WrongType if it is none.
func (m Member) Text() (string, error) {
	if m.Kind != String {
		return "", m.refuse(WrongType, "want a string, have "+m.Kind.String())
	}
	s := newScanner(m.Raw, 1)
	body, escaped, err := s.quoted()
	if err != nil || s.pos < len(s.text) {
		return "", m.refuse(Malformed, "") // not from ParseObject
	}
	if escaped {
		body = unescape(body)
	}
	return body, nil
}

// Strings returns the strings of a value that is a string or an array of strings, as "aud" may be
// (RFC 7519 section 4.1.3). An empty array gives none. The error is an [*Error] with code WrongType.
func (m Member) Strings() ([]string, error) {
	if m.Kind == String {
		text, err := m.Text()
		if err != nil {
			return nil, err
		}
		return []string{text}, nil
	}
	elements, err := m.elements()
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(elements))
	for i, e := range elements {
		if texts[i], err = e.Text(); err != nil {
			return nil, m.refuse(WrongType, "want strings in it, have "+e.Kind.String())
		}
	}
	return texts, nil
}

// elements returns the elements of an array, nameless.
func (m Member) elements() ([]Member, error) {
	if m.Kind != Array {
		return nil, m.refuse(WrongType, "want an array, have "+m.Kind.String())
	}
	s := newScanner(m.Raw, deepest)
	s.shallow = true
	var elements []Member
	if s.peek() != '[' || s.array(1, &elements) != nil || s.pos < len(s.text) {
		return nil, m.refuse(Malformed, "") // not from ParseObject
	}
	return elements, nil
}

// maxDate is the first second NumericDate refuses: year 10000, which RFC 3339 cannot write.
const maxDate = 253402300800

// NumericDate returns the time, in UTC, that a value of seconds since 1970 stands for (RFC 7519 section 2). Fractions and
// exponents are accepted and kept as far as a float64 holds them: whole seconds exactly, today's fractions to a
// microsecond. The error is an [*Error] with code WrongType, or OutOfRange before 1970 or after 9999.
func (m Member) NumericDate() (time.Time, error) {
	if m.Kind != Number {
		return time.Time{}, m.refuse(WrongType, "want a number of seconds, have "+m.Kind.String())
	}
	seconds, err := strconv.ParseFloat(string(m.Raw), 64)
	if err != nil || !(0 <= seconds && seconds < maxDate) {
		return time.Time{}, m.refuse(OutOfRange, "want seconds from 1970 to 9999")
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
}

// refuse returns the error of a value that is not what was asked for.
func (m Member) refuse(code Code, detail string) error {
	return &Error{Code: code, Name: m.Name, Offset: m.Offset, Detail: detail}
}

// unescape resolves the escapes in body, which scanner.quoted has checked.
func unescape(body string) string {
	out := make([]byte, 0, len(body))
	for len(body) > 0 {
		if body[0] != '\\' {
			out = append(out, body[0])
			body = body[1:]
			continue
		}
		c := body[1]
		if c == 'u' {
			r, _ := hexEscape(body)
			body = body[6:]
			if utf16.IsSurrogate(r) {
				low, _ := hexEscape(body)
				r = utf16.DecodeRune(r, low)
				body = body[6:]
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		}
		out = append(out, c)
		body = body[2:]
	}
	return string(out)
}

// AppendString appends s as a JSON string literal with the fewest escapes, as RFC 8785 section 3.2.2.2 writes it: only
// quote, backslash and control characters are escaped, the rest stands as it is. Bytes that are not UTF-8
// become U+FFFD, so that what is appended is always valid JSON; who must not lose them checks s first.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\b':
			dst = append(dst, '\\', 'b')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\f':
			dst = append(dst, '\\', 'f')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		case r < utf8.RuneSelf:
			dst = append(dst, s[i])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
