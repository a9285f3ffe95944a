package backendtest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
)

// NoLeaks prints each value in every way that people print things (fmt with every verb and flag, slog, JSON), by itself and inside
// structs, slices and maps, and fails if any of the secrets shows in any writing. It reports what was printed where, never the secret.
func NoLeaks(t *testing.T, secrets [][]byte, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, leak := range leaks(secrets, v) {
			t.Errorf("%T %s", v, leak)
		}
	}
}

// leaks returns how v was printed, which secret showed, and in what writing.
func leaks(secrets [][]byte, v any) []string {
	var found []string
	printed := prints(v)
	for i, s := range secrets {
		for as, writing := range writings(s) {
			for how, text := range printed {
				if strings.Contains(text, writing) {
					found = append(found, fmt.Sprintf("printed by %s shows secret %d in %s", how, i, as))
				}
			}
		}
	}
	return found
}

// prints returns v in every print, by the way it was made.
func prints(v any) map[string]string {
	out := map[string]string{}
	shapes := []any{v, &v, []any{v}, map[string]any{"v": v}, struct{ V any }{v}, struct{ v any }{v}, &struct{ v any }{v}, fmt.Errorf("with %v", v)}
	for i, shape := range shapes {
		for _, flags := range []string{"", "+", "#"} {
			for _, verb := range "vsqxXdobcUtg" {
				format := "%" + flags + string(verb)
				out[fmt.Sprint(format, " of shape ", i)] = fmt.Sprintf(format, shape)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("print", "v", shape)
		slog.New(slog.NewTextHandler(&log, nil)).Info("print", "v", shape)
		out[fmt.Sprint("slog of shape ", i)] = log.String()
		if j, err := json.Marshal(shape); err == nil {
			out[fmt.Sprint("JSON of shape ", i)] = string(j)
		} else {
			out[fmt.Sprint("JSON error of shape ", i)] = err.Error()
		}
	}
	return out
}

// writings returns how the secret would look, by the name of the writing. Where order is kept, a piece of eight bytes stands for all:
// of a random secret it turns up by chance never.
func writings(secret []byte) map[string]string {
	piece := secret[len(secret)/2:]
	piece = piece[:min(8, len(piece))]
	list := func(format, between string) string {
		parts := make([]string, len(piece))
		for i, c := range piece {
			parts[i] = fmt.Sprintf(format, c)
		}
		return strings.Join(parts, between)
	}
	number := new(big.Int).SetBytes(secret)
	return map[string]string{
		"plain bytes":    string(piece),
		"quoted bytes":   strings.Trim(fmt.Sprintf("%q", piece), `"`),
		"hex":            hex.EncodeToString(piece),
		"upper-case hex": strings.ToUpper(hex.EncodeToString(piece)),
		"spaced hex":     list("%02x", " "),
		"prefixed hex":   list("%#x", " "),
		"Go syntax":      list("%#x", ", "),
		"decimal bytes":  list("%d", " "),
		"JSON numbers":   list("%d", ","),
		"octal bytes":    list("%o", " "),
		"binary bytes":   list("%b", " "),
		"decimal number": number.String(),
		"octal number":   number.Text(8),
		"binary number":  number.Text(2),
		"base64":         base64.StdEncoding.EncodeToString(secret),
		"base64url":      base64.RawURLEncoding.EncodeToString(secret),
	}
}
