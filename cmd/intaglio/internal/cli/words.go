package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Time is a moment for people: without the date when it is today.
func Time(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.IsZero() {
		return ""
	}
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05Z")
	}
	return t.Format("2006-01-02 15:04:05Z")
}

// Stamp is Time of a protobuf timestamp; empty when it is unset.
func Stamp(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return ""
	}
	return Time(t.AsTime(), now)
}

// Span is a duration for people: its two largest units, whole seconds above a second. "13d 4h", "59m 58s", "0.3s".
func Span(d time.Duration) string {
	if d < 0 {
		return "-" + Span(-d)
	}
	if d == 0 {
		return "0s"
	}
	if d < 10*time.Second && d%time.Second != 0 {
		return strconv.FormatFloat(max(d.Seconds(), 0.001), 'g', 2, 64) + "s"
	}
	var parts []string
	rest := d
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := rest / unit.size; n > 0 {
			parts = append(parts, fmt.Sprintf("%d%s", n, unit.name))
			rest -= n * unit.size
		} else if len(parts) > 0 {
			break
		}
		if len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, " ")
}

// Duration is Span of a protobuf duration; empty when it is unset.
func Duration(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return Span(d.AsDuration())
}

// Count is a number and what it counts, in the plural where it must be: "1 key", "48,211 keys".
func Count(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + one + "s"
}

// Number writes n with commas.
func Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Short is a resource's name the way people write it: "issuers/payments/rings/access/keys/17" becomes
// "payments/access/17"; grants/ and operations/ fall away.
func Short(name string) string {
	if rest, ok := strings.CutPrefix(name, "issuers/"); ok {
		return strings.Replace(strings.Replace(rest, "/rings/", "/", 1), "/keys/", "/", 1)
	}
	for _, collection := range []string{"grants/", "operations/"} {
		if rest, ok := strings.CutPrefix(name, collection); ok {
			return rest
		}
	}
	return name
}

// Enum is an enum value the way people write it: RING_STATE_NO_SIGNER with prefix "STATE_" becomes "no signer".
func Enum(value fmt.Stringer, prefix string) string {
	_, name, ok := strings.Cut(value.String(), prefix)
	if !ok {
		name = value.String()
	}
	return strings.ToLower(strings.ReplaceAll(name, "_", " "))
}
