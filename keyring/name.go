package keyring

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// ValidID reports whether s can name an issuer, a ring within an issuer, or a grant: a lower-case letter, then at most 39
// letters, digits and hyphens.
func ValidID(s string) bool { return idPattern.MatchString(s) }

// SplitRing cuts a ring's name, "payments/access", into its issuer and its own id.
func SplitRing(name string) (issuer, ring string, err error) {
	issuer, ring, ok := strings.Cut(name, "/")
	if !ok || !ValidID(issuer) || !ValidID(ring) {
		return "", "", fmt.Errorf("%w: ring name %q is not of the form issuer/ring, each %s", ErrInvalid, name, idPattern)
	}
	return issuer, ring, nil
}

// SplitKey cuts a key's ID, "payments/access/17", into its ring's name and its serial.
func SplitKey(id string) (ring string, serial uint64, err error) {
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return "", 0, fmt.Errorf("%w: key ID %q is not of the form issuer/ring/serial", ErrInvalid, id)
	}
	serial, err = strconv.ParseUint(id[i+1:], 10, 63)
	if err != nil || serial == 0 || strconv.FormatUint(serial, 10) != id[i+1:] {
		return "", 0, fmt.Errorf("%w: key ID %q does not end in a serial number", ErrInvalid, id)
	}
	if _, _, err := SplitRing(id[:i]); err != nil {
		return "", 0, err
	}
	return id[:i], serial, nil
}

// KeyID is the inverse of [SplitKey].
func KeyID(ring string, serial uint64) string { return ring + "/" + strconv.FormatUint(serial, 10) }
