package jws

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits that hold where a caller gives none.
const (
	DefaultMaxBytes = 16 << 10 // of a token or a JSON text
	DefaultMaxDepth = 16       // of objects and arrays, the outermost counted
)

// deepest bounds every caller's maxDepth, and with it the stack.
const deepest = 1000

// ParseObject reads data as one JSON object (RFC 8259) and returns its members in the order they stand in. It refuses
// what encoding/json lets pass: a name twice in any object, however it is escaped (Duplicate); at the top level, names
// that differ only in case by Unicode's simple folding (CaseVariant); invalid UTF-8 and half surrogate pairs
// (NotUTF8); at any depth, names that hold a control character, U+0000 to U+001F or U+007F, however it is escaped
// (Malformed): a reader in C would cut "iss\u0000" at its NUL, and take it for "iss"; and anything but white space after
// the object (Trailing).
//
// maxBytes and maxDepth bound the input; zero or less means DefaultMaxBytes and DefaultMaxDepth, and no depth goes beyond 1000.
// The members' Raw alias data, which must not change while they are in use. The error is an [*Error].
func ParseObject(data []byte, maxBytes, maxDepth int) ([]Member, error) {
	return parseObject(data, maxBytes, maxDepth, false)
}

// parseObject is ParseObject. If shallow, names inside nested objects are not compared: a reader that
// takes those objects apart one by one does that itself, and can refuse one without refusing all.
func parseObject(data []byte, maxBytes, maxDepth int, shallow bool) ([]Member, error) {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	if len(data) > maxBytes {
		return nil, &Error{Code: TooLarge, Offset: maxBytes}
	}
	if !utf8.Valid(data) {
		return nil, &Error{Code: NotUTF8, Offset: firstInvalid(data)}
	}
	s := newScanner(data, maxDepth)
	s.shallow = shallow
	s.space()
	if s.peek() != '{' {
		return nil, s.fail(NotObject)
	}
	members := make([]Member, 0, min(bytes.Count(data, []byte{':'}), 32))
	if err := s.object(1, &members); err != nil {
		return nil, err
	}
	s.space()
	if s.pos < len(s.text) {
		return nil, s.fail(Trailing)
	}
	return members, nil
}

// firstInvalid returns the offset of the first byte of data that is not part of valid UTF-8.
func firstInvalid(data []byte) int {
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// A scanner walks over one JSON text. It never looks back, and recurses no deeper than maxDepth.
type scanner struct {
	data     []byte
	text     string // data again, so that names can be cut from it without a copy each
	pos      int
	maxDepth int
	shallow  bool // see parseObject
}

func newScanner(data []byte, maxDepth int) scanner {
	if maxDepth <= 0 {
		maxDepth = DefaultMaxDepth
	}
	return scanner{data: data, text: string(data), maxDepth: min(maxDepth, deepest)}
}

func (s *scanner) fail(code Code) error { return &Error{Code: code, Offset: s.pos} }

// peek returns the byte at pos; at the end 0, which no JSON token begins with.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

// eat steps over c, if that is what stands next.
func (s *scanner) eat(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// object scans the object at pos, the depth-th of those open. With members it keeps what it finds, and
// compares names without regard to case too.
func (s *scanner) object(depth int, members *[]Member) error {
	if depth > s.maxDepth {
		return s.fail(TooDeep)
	}
	s.pos++
	if s.space(); s.eat('}') {
		return nil
	}
	seen := nameSet{fold: members != nil}
	for {
		m, err := s.member(depth)
		if err != nil {
			return err
		}
		if !s.shallow || members != nil {
			if code := seen.add(m.Name); code != "" {
				return &Error{Code: code, Name: m.Name, Offset: m.Offset}
			}
		}
		if members != nil {
			*members = append(*members, m)
		}
		switch s.space(); {
		case s.eat('}'):
			return nil
		case !s.eat(','):
			return s.fail(Malformed)
		}
		s.space()
	}
}

// member scans one name and its value.
func (s *scanner) member(depth int) (Member, error) {
	m := Member{Offset: s.pos}
	body, escaped, err := s.quoted()
	if err != nil {
		return m, err
	}
	if m.Name = body; escaped {
		m.Name = unescape(body)
	}
	if strings.ContainsFunc(m.Name, isControl) {
		return m, &Error{Code: Malformed, Name: m.Name, Offset: m.Offset, Detail: "a control character in a name"}
	}
	if s.space(); !s.eat(':') {
		return m, s.fail(Malformed)
	}
	s.space()
	m.Kind, m.Raw, err = s.value(depth)
	return m, err
}

// array scans the array at pos, the depth-th of what is open; with elements it keeps them, nameless.
func (s *scanner) array(depth int, elements *[]Member) error {
	if depth > s.maxDepth {
		return s.fail(TooDeep)
	}
	s.pos++
	if s.space(); s.eat(']') {
		return nil
	}
	for {
		at := s.pos
		kind, raw, err := s.value(depth)
		if err != nil {
			return err
		}
		if elements != nil {
			*elements = append(*elements, Member{Kind: kind, Raw: raw, Offset: at})
		}
		switch s.space(); {
		case s.eat(']'):
			return nil
		case !s.eat(','):
			return s.fail(Malformed)
		}
		s.space()
	}
}

// value scans the value at pos, inside the depth-th object or array.
func (s *scanner) value(depth int) (kind Kind, raw []byte, err error) {
	start := s.pos
	switch c := s.peek(); {
	case c == '"':
		kind = String
		_, _, err = s.quoted()
	case c == '{':
		kind, err = Object, s.object(depth+1, nil)
	case c == '[':
		kind, err = Array, s.array(depth+1, nil)
	case c == '-' || isDigit(c):
		kind, err = Number, s.number()
	case c == 't':
		kind, err = True, s.literal("true")
	case c == 'f':
		kind, err = False, s.literal("false")
	case c == 'n':
		kind, err = Null, s.literal("null")
	default:
		err = s.fail(Malformed)
	}
	return kind, s.data[start:s.pos:s.pos], err
}

func (s *scanner) literal(word string) error {
	if !strings.HasPrefix(s.text[s.pos:], word) {
		return s.fail(Malformed)
	}
	s.pos += len(word)
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number scans -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number() error {
	s.eat('-')
	if !s.eat('0') && !s.digits() {
		return s.fail(Malformed)
	}
	if s.eat('.') && !s.digits() {
		return s.fail(Malformed)
	}
	if s.eat('e') || s.eat('E') {
		if !s.eat('+') {
			s.eat('-')
		}
		if !s.digits() {
			return s.fail(Malformed)
		}
	}
	return nil
}

// digits steps over digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	return s.pos > start
}

// quoted scans the string at pos and returns what stands between its quotes, and whether that holds escapes.
func (s *scanner) quoted() (body string, escaped bool, err error) {
	if !s.eat('"') {
		return "", false, s.fail(Malformed)
	}
	start := s.pos
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return s.text[start : s.pos-1], escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return "", true, err
			}
		case c < 0x20:
			return "", escaped, s.fail(Malformed)
		default:
			s.pos++
		}
	}
	return "", escaped, s.fail(Malformed)
}

// escape steps over the escape at pos. Half a surrogate pair has no UTF-8, and readers replace it
// each in their own way: refused.
func (s *scanner) escape() error {
	rest := s.text[s.pos:]
	if len(rest) < 2 {
		return s.fail(Malformed)
	}
	if rest[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, rest[1]) < 0 {
			return s.fail(Malformed)
		}
		s.pos += 2
		return nil
	}
	r, ok := hexEscape(rest)
	if !ok {
		return s.fail(Malformed)
	}
	s.pos += 6
	if !utf16.IsSurrogate(r) {
		return nil
	}
	low, ok := hexEscape(rest[6:])
	if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		s.pos -= 6
		return s.fail(NotUTF8)
	}
	s.pos += 6
	return nil
}

// hexEscape reads the \uXXXX that s begins with.
func hexEscape(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
