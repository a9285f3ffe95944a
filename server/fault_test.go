package server

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/backends"
	"intaglio.example/keyring"
	"intaglio.example/rotation"
)

// TestEveryReasonHasItsCode: the table is whole, holds nothing else, and says what the contract says.
func TestEveryReasonHasItsCode(t *testing.T) {
	is(t, "reasons with a code", len(codeOf), len(pb.Reason_name)-1)
	contract, err := os.ReadFile("../proto/intaglio/v1/errors.proto")
	no(t, err)
	documented := regexp.MustCompile(`// ([A-Z_]+)[,.][^\n]*\n(?:  //[^\n]*\n)*  REASON_(\w+) = \d+;`).FindAllStringSubmatch(string(contract), -1)
	is(t, "reasons with a documented code", len(documented), len(codeOf))
	for _, m := range documented {
		reason := pb.Reason(pb.Reason_value["REASON_"+m[2]])
		code, ok := codeOf[reason]
		if !ok {
			t.Errorf("%s has no code", reason)
			continue
		}
		var want codes.Code
		no(t, want.UnmarshalJSON([]byte(`"`+m[1]+`"`)))
		is(t, m[2], code, want)
	}
}

// TestFaultsTravelWhole: the status carries the reason, the domain, the field, and when to retry.
func TestFaultsTravelWhole(t *testing.T) {
	for reason, code := range codeOf {
		f := failField(reason, "ring.typ", "no %s", "good")
		f.cause = errors.New("hunter2")
		st := f.GRPCStatus()
		is(t, reason.String(), st.Code(), code)
		is(t, "message", st.Message(), "no good")
		got, field := detailsOf(st)
		is(t, "reason", got, reason.String())
		is(t, "field", field, "ring.typ")
		retry := slices.ContainsFunc(st.Details(), func(d any) bool { _, ok := d.(*errdetails.RetryInfo); return ok })
		is(t, reason.String()+" says when to retry", retry, code == codes.Unavailable || code == codes.ResourceExhausted)
		if strings.Contains(st.String(), "hunter2") {
			t.Errorf("%s tells its cause", reason)
		}
	}
}

// known are all sentinel errors of the rooms below, by name, and the reason of each.
var known = map[string]struct {
	err    error
	reason pb.Reason
}{
	"rotation.ErrNotPropagated":   {rotation.ErrNotPropagated, pb.Reason_REASON_NOT_PROPAGATED},
	"backends.ErrUnknownBackend":  {backends.ErrUnknownBackend, pb.Reason_REASON_BACKEND_NOT_FOUND},
	"backends.ErrInvalid":         {backends.ErrInvalid, pb.Reason_REASON_INTERNAL},
	"backends.ErrUnsupported":     {backends.ErrUnsupported, pb.Reason_REASON_ALGORITHM_UNSUPPORTED},
	"backends.ErrKeyNotFound":     {backends.ErrKeyNotFound, pb.Reason_REASON_BACKEND_UNAVAILABLE},
	"backends.ErrDisabled":        {backends.ErrDisabled, pb.Reason_REASON_BACKEND_UNAVAILABLE},
	"backends.ErrMismatch":        {backends.ErrMismatch, pb.Reason_REASON_INTERNAL},
	"backends.ErrUnusable":        {backends.ErrUnusable, pb.Reason_REASON_BACKEND_UNAVAILABLE},
	"backends.ErrExportable":      {backends.ErrExportable, pb.Reason_REASON_KEY_EXPORTABLE},
	"backends.ErrTooWeak":         {backends.ErrTooWeak, pb.Reason_REASON_PROTECTION_TOO_LOW},
	"backends.ErrWrongSignature":  {backends.ErrWrongSignature, pb.Reason_REASON_SIGNATURE_WRONG},
	"backends.ErrUnavailable":     {backends.ErrUnavailable, pb.Reason_REASON_BACKEND_UNAVAILABLE},
	"keyring.ErrConflict":         {keyring.ErrConflict, pb.Reason_REASON_OPERATION_CONFLICT},
	"keyring.ErrInvalid":          {keyring.ErrInvalid, pb.Reason_REASON_ARGUMENT_INVALID},
	"keyring.ErrRefused":          {keyring.ErrRefused, pb.Reason_REASON_ARGUMENT_INVALID},
	"keyring.ErrKidKnown":         {keyring.ErrKidKnown, pb.Reason_REASON_INTERNAL},
	"keyring.ErrRollback":         {keyring.ErrRollback, pb.Reason_REASON_STORE_WENT_BACK},
	"keyring.ErrTampered":         {keyring.ErrTampered, pb.Reason_REASON_STORE_TAMPERED},
	"keyring.ErrNotInitialised":   {keyring.ErrNotInitialised, pb.Reason_REASON_STORE_UNUSABLE},
	"keyring.ErrNewerSchema":      {keyring.ErrNewerSchema, pb.Reason_REASON_STORE_UNUSABLE},
	"keyring.ErrStale":            {keyring.ErrStale, pb.Reason_REASON_SNAPSHOT_STALE},
	"context.Canceled":            {context.Canceled, pb.Reason_REASON_CANCELLED},
	"context.DeadlineExceeded":    {context.DeadlineExceeded, pb.Reason_REASON_DEADLINE_EXCEEDED},
	"rotation.ErrNothingToRotate": {rotation.ErrNothingToRotate, pb.Reason_REASON_RING_USAGE_WRONG},
	"keyring.ErrNoAnchor":         {keyring.ErrNoAnchor, pb.Reason_REASON_INTERNAL}, // a server without one never starts
}

// TestEverySentinelMaps: each sentinel of the rooms below has its reason, however deep it is wrapped, and a new one is
// noticed. Anything else is INTERNAL and says nothing.
func TestEverySentinelMaps(t *testing.T) {
	for name, s := range known {
		f := asFault(fmt.Errorf("signing payments/access/3: %w", fmt.Errorf("in vault: %w", s.err)))
		is(t, name, f.reason, s.reason)
		is(t, name+" keeps its cause", errors.Is(f, s.err), true)
	}
	for _, room := range []string{"keyring", "backends", "rotation"} {
		for _, name := range sentinelsOf(t, room) {
			if _, ok := known[name]; !ok {
				t.Errorf("%s has no place in this test, and perhaps none in the table", name)
			}
		}
	}
	f := asFault(errors.New("password hunter2"))
	is(t, "anything else", f.reason, pb.Reason_REASON_INTERNAL)
	if strings.Contains(f.GRPCStatus().String(), "hunter2") {
		t.Error("an unknown error went to the caller")
	}
	inner := fail(pb.Reason_REASON_NO_SIGNER, "none")
	is(t, "a fault, wrapped", asFault(fmt.Errorf("signing: %w", inner)).reason, pb.Reason_REASON_NO_SIGNER)
}

// sentinelsOf lists the exported errors that a package declares.
func sentinelsOf(t *testing.T, room string) []string {
	t.Helper()
	files, err := fs.Glob(os.DirFS(".."), room+"/*.go")
	no(t, err)
	var names []string
	for _, file := range files {
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), "../"+file, nil, 0)
		no(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for _, id := range spec.Names {
					if strings.HasPrefix(id.Name, "Err") {
						names = append(names, room+"."+id.Name)
					}
				}
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Fatalf("no errors found in %s", room)
	}
	return names
}
