package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// Clean returns s with every character that could steer a terminal, or that is no character, as an escape. Spaces
// stay spaces.
func Clean(s string) string {
	if !strings.ContainsFunc(s, unsafe) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// unsafe is what strconv would not print: control characters, and those that turn the direction of writing.
func unsafe(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// ShellQuote returns s as one word of a POSIX shell.
func ShellQuote(s string) string {
	plain := func(r rune) bool {
		return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./:@%+=,", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
