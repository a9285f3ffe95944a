package software

import (
	"fmt"
	"io"
	"log/slog"
)

// unprintable makes the type it is embedded in print as "[secret]". It is the second line: what holds a secret keeps it behind a
// function, because fmt does not call these methods where the value stands in somebody's unexported field.
type unprintable struct{}

const redacted = "[secret]"

// Format prints "[secret]" for every verb.
func (unprintable) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String is for callers of String itself.
func (unprintable) String() string { return redacted }

// LogValue is for slog.
func (unprintable) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is for encoders, JSON and YAML among them.
func (unprintable) MarshalText() ([]byte, error) { return []byte(redacted), nil }
