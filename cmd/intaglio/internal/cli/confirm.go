package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
)

// ConfirmCode is what a person repeats to say that they saw what would fall: how many things, and the first four
// characters of the digest over all of it. "412-7F3A".
func ConfirmCode(things int64, digest string) string {
	return strconv.FormatInt(things, 10) + "-" + strings.ToUpper(digest[:min(4, len(digest))])
}

var codePattern = regexp.MustCompile(`^[0-9]+-[0-9A-F]{4}$`)

// IsConfirmCode reports whether s has the form of a code, whatever it stands for.
func IsConfirmCode(s string) bool { return codePattern.MatchString(s) }

// Digest is SHA-256 over the parts in hex, each ended by a byte that no name has.
func Digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(append([]byte(p), 0))
	}
	return hex.EncodeToString(h.Sum(nil))
}
