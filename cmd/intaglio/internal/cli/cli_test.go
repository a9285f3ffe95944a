package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
)

func refusal(t *testing.T, code codes.Code, reason, message string) error {
	t.Helper()
	st, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "intaglio"})
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

// TestEveryReasonHasARemedy: whatever the API may answer, a person is told what to type or do next.
func TestEveryReasonHasARemedy(t *testing.T) {
	for number, name := range pb.Reason_name {
		if number == 0 {
			continue
		}
		f := cli.Refused(refusal(t, codes.Internal, strings.TrimPrefix(name, "REASON_"), "why"), "cannot", "payments/access")
		if f.Next == "" || strings.Contains(f.Next, "newer than this program") || strings.Contains(f.Next, "{") && !strings.Contains(f.Next, `{"sub"`) {
			t.Errorf("%s: next is %q", name, f.Next)
		}
	}
	if f := cli.Refused(refusal(t, codes.Internal, "OF_TOMORROW", "why"), "cannot", "x"); !strings.Contains(f.Next, "newer than this program") || f.Reason != "OF_TOMORROW" {
		t.Errorf("an unknown reason: %+v", f)
	}
}

func TestThreeLines(t *testing.T) {
	var b bytes.Buffer
	err := refusal(t, codes.FailedPrecondition, "NOT_PROPAGATED", "payments/access/18 has been published for 3h2m of 24h")
	code := cli.Report(&b, fmt.Errorf("wrapped: %w", cli.Refused(err, "cannot rotate payments/access", "payments/access")))
	want := `error: cannot rotate payments/access   [NOT_PROPAGATED]
  payments/access/18 has been published for 3h2m of 24h
  Wait, or accept that some verifiers refuse its tokens for a while:  intaglio rotate payments/access --propagated-for DURATION --reason TEXT
`
	if b.String() != want || code != cli.Failed {
		t.Errorf("exit %d\n%s", code, b.String())
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want cli.Code
	}{
		{nil, cli.Done},
		{errors.New("unknown command"), cli.Usage},
		{cli.Misused("a", "b"), cli.Usage},
		{&cli.Failure{Code: cli.Left, Next: "x"}, cli.Left},
		{cli.Refused(refusal(t, codes.InvalidArgument, "CLAIM_DUPLICATE", ""), "", ""), cli.Failed},
		{cli.Refused(refusal(t, codes.FailedPrecondition, "NO_SIGNER", ""), "", ""), cli.Failed},
		{cli.Refused(refusal(t, codes.Internal, "INTERNAL", ""), "", ""), cli.Failed},
		{cli.Refused(refusal(t, codes.Unauthenticated, "CALLER_UNKNOWN", ""), "", ""), cli.Denied},
		{cli.Refused(refusal(t, codes.PermissionDenied, "GRANT_MISSING", ""), "", ""), cli.Denied},
		{cli.Refused(refusal(t, codes.NotFound, "RING_NOT_FOUND", ""), "", ""), cli.NotFound},
		{cli.Refused(refusal(t, codes.Aborted, "IMPACT_GREW", ""), "", ""), cli.Conflict},
		{cli.Refused(refusal(t, codes.AlreadyExists, "ALREADY_EXISTS", ""), "", ""), cli.Conflict},
		{cli.Refused(refusal(t, codes.Unavailable, "SNAPSHOT_STALE", ""), "", ""), cli.Unavailable},
		{cli.Refused(refusal(t, codes.ResourceExhausted, "BACKEND_THROTTLED", ""), "", ""), cli.Unavailable},
		{cli.Refused(refusal(t, codes.DeadlineExceeded, "DEADLINE_EXCEEDED", ""), "", ""), cli.Unavailable},
		{cli.Refused(context.DeadlineExceeded, "", ""), cli.Failed},
	} {
		if got := cli.Report(io.Discard, c.err); got != c.want {
			t.Errorf("%v: exit %d, want %d", c.err, got, c.want)
		}
	}
}

func TestUnexplained(t *testing.T) {
	for _, c := range []struct {
		code            codes.Code
		message, reason string
	}{
		{codes.Unavailable, "connection refused", cli.Unreachable},
		{codes.Unavailable, "authentication handshake failed: tls: unknown certificate authority", cli.NotTrusted},
		{codes.Unavailable, `error reading server preface: remote error: tls: certificate required`, cli.NotTrusted},
		{codes.Unimplemented, "unknown service", cli.Unexplained},
		{codes.DeadlineExceeded, "context deadline exceeded", "DEADLINE_EXCEEDED"},
	} {
		if f := cli.Refused(status.Error(c.code, c.message), "cannot", "x"); f.Reason != c.reason || f.Next == "" {
			t.Errorf("%v %s: %+v", c.code, c.message, f)
		}
	}
	foreign, err := status.New(codes.NotFound, "").WithDetails(&errdetails.ErrorInfo{Reason: "RING_NOT_FOUND", Domain: "elsewhere.example"})
	if err != nil {
		t.Fatal(err)
	}
	if f := cli.Refused(foreign.Err(), "cannot", "x"); f.Reason != cli.Unexplained {
		t.Errorf("another domain's reason was believed: %+v", f)
	}
}

// TestFieldIsNamed: a person learns which field was to blame even when the message leaves it out.
func TestFieldIsNamed(t *testing.T) {
	st, err := status.New(codes.InvalidArgument, "must be a UUID").WithDetails(
		&errdetails.ErrorInfo{Reason: "ARGUMENT_INVALID", Domain: "intaglio"},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "request_id", Description: "must be a UUID"}}})
	if err != nil {
		t.Fatal(err)
	}
	if f := cli.Refused(st.Err(), "cannot", ""); f.Why != "must be a UUID (request_id)" {
		t.Errorf("why %q", f.Why)
	}
}

// TestNothingSteersTheTerminal: names and words come from tokens and from other people.
func TestNothingSteersTheTerminal(t *testing.T) {
	const hostile = "a\x1b[2Jb\u202ec\x9bd\r\ne\ttab"
	var b bytes.Buffer
	cli.Report(&b, &cli.Failure{What: hostile, Why: hostile, Next: hostile})
	cli.Columns(&b, []string{"NAME"}, [][]string{{hostile}})
	cli.Facts(&b, "name", hostile)
	if err := (cli.Printer{W: &b, Format: cli.Name}).Message(nil, []string{hostile}, nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range strings.ReplaceAll(b.String(), "\n", "") {
		if !unicode.IsPrint(r) {
			t.Errorf("%q got through in %q", r, b.String())
		}
	}
	if got := cli.Clean("plain, ünïcode 漢字 and spaces"); got != "plain, ünïcode 漢字 and spaces" {
		t.Errorf("plain text became %q", got)
	}
}

func TestConfirmCode(t *testing.T) {
	digest := cli.Digest("all", "software-b", "demo/access/1", "demo/access/2")
	if got := cli.ConfirmCode(412, "7f3abc"); got != "412-7F3A" {
		t.Errorf("code %s", got)
	}
	if code := cli.ConfirmCode(2, digest); !cli.IsConfirmCode(code) {
		t.Errorf("%s has not the form of a code", code)
	}
	for _, s := range []string{"", "yes", "412", "412-", "412-7f3a", "412-7F3AB", "-7F3A", "412-7F3G"} {
		if cli.IsConfirmCode(s) {
			t.Errorf("%q has the form of a code", s)
		}
	}
	if digest == cli.Digest("all", "software-b", "demo/access/1demo/access/2") || digest == cli.Digest("all", "software", "-bdemo/access/1", "demo/access/2") {
		t.Error("the digest does not keep its parts apart")
	}
}

// TestFormats: the same message for people and for machines, the same bytes every time.
func TestFormats(t *testing.T) {
	m := &pb.ListIssuersResponse{Issuers: []*pb.Issuer{{Name: "issuers/demo", Uri: "https://demo.test", Etag: "12"}}}
	print := func(f cli.Format) string {
		var b bytes.Buffer
		err := cli.Printer{W: &b, Format: f}.Message(m, []string{"demo"}, func(w io.Writer) { io.WriteString(w, "a table\n") })
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const wantJSON = `{
  "issuers": [
    {
      "name": "issuers/demo",
      "uri": "https://demo.test",
      "etag": "12"
    }
  ]
}
`
	if got := print(cli.JSON); got != wantJSON {
		t.Errorf("json:\n%s", got)
	}
	const wantYAML = "issuers:\n  - name: issuers/demo\n    uri: https://demo.test\n    etag: \"12\"\n"
	if got := print(cli.YAML); got != wantYAML {
		t.Errorf("yaml:\n%s", got)
	}
	if got := print(cli.Name); got != "demo\n" {
		t.Errorf("name: %q", got)
	}
	if got := print(cli.Table); got != "a table\n" {
		t.Errorf("table: %q", got)
	}
}

// TestYAMLKeepsStrings: what is a string in JSON is a string in YAML, however much it looks like something else.
func TestYAMLKeepsStrings(t *testing.T) {
	values := map[string]any{"a": "yes", "b": "1", "c": "2026-11-22T10:00:00Z", "d": "null", "e": "x: y", "f": 1.0, "g": true, "h": "<<"}
	var b bytes.Buffer
	if err := (cli.Printer{W: &b, Format: cli.YAML}).Value(values, nil, nil); err != nil {
		t.Fatal(err)
	}
	back := map[string]any{}
	if err := yaml.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	for name, v := range values {
		if s, isString := v.(string); isString && back[name] != s {
			t.Errorf("%s: %#v came back as %#v", name, v, back[name])
		}
	}
	raw, err := json.Marshal(back["g"])
	if err != nil || string(raw) != "true" {
		t.Errorf("a boolean came back as %s", raw)
	}
}

func TestSetFormat(t *testing.T) {
	f := cli.Table
	if err := f.Set("xml"); err == nil || f != cli.Table {
		t.Error("xml was accepted")
	}
	if err := f.Set("json"); err != nil || f != cli.JSON {
		t.Error("json was refused")
	}
}

func TestWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for got, want := range map[string]string{
		cli.Span(0):                                               "0s",
		cli.Span(300 * time.Millisecond):                          "0.3s",
		cli.Span(time.Microsecond):                                "0.001s",
		cli.Span(59*time.Minute + 58*time.Second):                 "59m 58s",
		cli.Span(24 * time.Hour):                                  "1d",
		cli.Span(13*24*time.Hour + 23*time.Hour + 59*time.Minute): "13d 23h",
		cli.Span(time.Hour + time.Second):                         "1h",
		cli.Span(-time.Minute):                                    "-1m",
		cli.Time(now, now):                                        "12:00:00Z",
		cli.Time(now, now.Add(24*time.Hour)):                      "2026-11-22 12:00:00Z",
		cli.Time(time.Time{}, now):                                "",
		cli.Count(1, "key"):                                       "1 key",
		cli.Count(48211, "key"):                                   "48,211 keys",
		cli.Count(-1234, "key"):                                   "-1,234 keys",
		cli.Number(-123):                                          "-123",
		cli.Short("issuers/payments"):                             "payments",
		cli.Short("issuers/p/rings/a/keys/17"):                    "p/a/17",
		cli.Short("grants/web"):                                   "web",
		cli.Enum(pb.Ring_STATE_NO_SIGNER, "STATE_"):               "no signer",
		cli.ShellQuote("INC-4411"):                                "INC-4411",
		cli.ShellQuote("it's gone"):                               `'it'\''s gone'`,
		cli.ShellQuote(""):                                        "''",
		cli.ShellQuote("$(id)"):                                   "'$(id)'",
		cli.ShellQuote("demo/*"):                                  "'demo/*'",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
