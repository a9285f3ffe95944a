package server

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// admin is intaglio.v1.AdminService.
type admin struct {
	pb.UnsafeAdminServiceServer
	*Server
}

// act is one administrative act: the grant it takes, and what the log says of it.
type act struct {
	method string
	object string // the long name of what it is about
	verb   keyring.Verb
	target string
	dry    bool  // check only
	wrote  bool  // the store was changed
	notes  []any // more for the log, as slog takes it
}

// writeTime bounds one try of a write: nobody's call may hold up the refresh of the snapshot for long.
const writeTime = 10 * time.Second

// tries bounds how often a write is built anew because another writer came first.
const tries = 8

// write is the one way an administrative call changes rows of the store. It admits the caller, has edit say what to
// write as of a fresh snapshot, and writes that; if a row of it changed meanwhile, all of this again. It returns a
// snapshot in which this replica has read what was written, or the one that edit saw when there was nothing to write.
func (s *admin) write(ctx context.Context, a *act, edit func(*keyring.Snapshot) (keyring.Edit, error)) (*keyring.Snapshot, error) {
	snap, err := s.tryWrite(ctx, a, edit)
	s.note(ctx, a, err)
	return snap, err
}

func (s *admin) tryWrite(ctx context.Context, a *act, edit func(*keyring.Snapshot) (keyring.Edit, error)) (*keyring.Snapshot, error) {
	for range tries {
		snap, _, err := s.admit(ctx, a.verb, a.target)
		if err != nil {
			return nil, err
		}
		e, err := edit(snap)
		if err != nil || a.dry || len(e.Issuers)+len(e.Rings)+len(e.Grants) == 0 {
			return snap, err
		}
		if a.wrote, err = s.swap(ctx, snap.Position, e); err != nil {
			return nil, unsettled(err, "the store did not answer for %s: it may have been written. Repeat the call", a.object)
		}
		if a.wrote {
			return s.live.Current()
		}
	}
	return nil, fail(pb.Reason_REASON_OPERATION_CONFLICT, "%s is being changed by others again and again; read it, then retry", a.object)
}

// swap writes e and reads it back; false when somebody else's write came first, and was read instead.
func (s *admin) swap(ctx context.Context, asOf keyring.Position, e keyring.Edit) (wrote bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	_, err = s.store.Swap(ctx, asOf, e)
	if err != nil && !errors.Is(err, keyring.ErrConflict) {
		return false, err
	}
	return err == nil, s.live.Refresh(ctx)
}

// unsettled is the fault of a store call that failed without saying whether it took effect; an error that does say
// stays what it is.
func unsettled(err error, words string, args ...any) error {
	for _, settled := range []error{
		keyring.ErrConflict, keyring.ErrInvalid, keyring.ErrRefused, keyring.ErrKidKnown,
		keyring.ErrRollback, keyring.ErrTampered, keyring.ErrNotInitialised, keyring.ErrNewerSchema,
	} {
		if errors.Is(err, settled) {
			return err
		}
	}
	f := fail(pb.Reason_REASON_STORE_UNAVAILABLE, words, args...)
	f.cause = err
	return f
}

// note writes an act to the log, whatever came of it.
func (s *Server) note(ctx context.Context, a *act, err error) {
	caller, _ := principal(ctx)
	outcome := "nothing to change"
	switch {
	case err != nil:
		outcome = asFault(err).reason.String()
	case a.dry:
		outcome = "checked only"
	case a.wrote:
		outcome = "done"
	}
	attrs := append([]any{"method", a.method, "caller", caller, "object", a.object, "outcome", outcome}, a.notes...)
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	s.log.InfoContext(ctx, "administrative act", attrs...)
}

// look is admit for those who only look: who operates or shapes target may.
func (s *admin) look(ctx context.Context, target string) (*keyring.Snapshot, error) {
	snap, _, err := s.admit(ctx, keyring.Operate, target)
	if f := (*fault)(nil); errors.As(err, &f) && f.reason == pb.Reason_REASON_GRANT_MISSING {
		if snap, _, err := s.admit(ctx, keyring.Admin, target); err == nil {
			return snap, nil
		}
	}
	return snap, err
}

// visible returns those of all that the caller may look at; target says what each stands for. Who may look at none of
// them is refused, unless the list as a whole is theirs and there is nothing in it.
func visible[T any](ctx context.Context, s *admin, whole string, all func(*keyring.Snapshot) []T, target func(T) string) (*keyring.Snapshot, []T, error) {
	caller, err := principal(ctx)
	if err != nil {
		return nil, nil, err
	}
	snap, err := s.live.Current()
	if err != nil {
		return nil, nil, err
	}
	seen := slices.DeleteFunc(all(snap), func(item T) bool {
		return !snap.Allowed(caller, keyring.Operate, target(item)) && !snap.Allowed(caller, keyring.Admin, target(item))
	})
	if len(seen) == 0 {
		snap, err = s.look(ctx, whole)
	}
	return snap, seen, err
}

// lineOf finds a ring that the caller was admitted to.
func lineOf(snap *keyring.Snapshot, ring string) (*keyring.Line, error) {
	line, ok := snap.Line(ring)
	if !ok {
		return nil, fail(pb.Reason_REASON_RING_NOT_FOUND, "there is no ring %s", ring)
	}
	return line, nil
}

// uuid4 is a UUID of version 4 (RFC 9562, section 5.4) in lower case.
var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func checkRequestID(id string, required bool) error {
	if id == "" && !required || uuid4.MatchString(id) {
		return nil
	}
	return invalid("request_id", "request_id %s is not a UUID of version 4 in lower case", quoted(id))
}

// origin is what a create is judged by when its name or its request_id was used before.
type origin struct {
	object    string // the long name of what is to be made
	requestID string // of this call
	taken     bool   // the name is
	by        string // the request that made what has the name
	same      bool   // and it was made just as this call asks
}

// repeats reports whether a create is the repeat of one that was done. It refuses a name that is taken, and a
// request_id that made something else.
func (o origin) repeats(snap *keyring.Snapshot) (bool, error) {
	switch {
	case o.taken && (o.requestID == "" || o.by != o.requestID):
		return false, fail(pb.Reason_REASON_ALREADY_EXISTS, "%s exists", o.object)
	case o.taken && !o.same, !o.taken && o.requestID != "" && spent(snap, o.requestID):
		return false, failField(pb.Reason_REASON_REQUEST_ID_REUSED, "request_id", "request_id %s was used for something else than this %s", o.requestID, o.object)
	}
	return o.taken, nil
}

// spent reports whether request made any row.
func spent(snap *keyring.Snapshot, request string) bool {
	return slices.ContainsFunc(snap.Issuers(), func(i *keyring.Issuer) bool { return i.Request == request }) ||
		slices.ContainsFunc(snap.Lines(), func(l *keyring.Line) bool { return l.Ring.Request == request }) ||
		slices.ContainsFunc(snap.Grants(), func(g *keyring.Grant) bool { return g.Request == request })
}

// checkEtag holds the etag that the caller read, if they gave one, against the row as it is.
func checkEtag(given string, is keyring.Revision, object string) error {
	if given == "" || given == etag(is) {
		return nil
	}
	return fail(pb.Reason_REASON_ETAG_MISMATCH, "%s was changed since you read it: its etag is %s, not %s", object, etag(is), quoted(given))
}

// misnamed refuses a resource whose own name contradicts the one it was asked for under.
func misnamed(field, given, long string) error {
	if given == "" || given == long {
		return nil
	}
	return invalid(field, "%s is %s, but this call is about %s; leave it empty", field, quoted(given), long)
}

// checkReason holds a person's reason against its limits.
func checkReason(reason string, required bool) error {
	if required && strings.TrimSpace(reason) == "" {
		return invalid("reason", "a reason is required, for those who will read of it")
	}
	if len(reason) > maxReason {
		return invalid("reason", "a reason has at most %d bytes, not %d", maxReason, len(reason))
	}
	return nil
}

// maxReason is the length in bytes of the longest reason.
const maxReason = 500

// plain is a rule's refusal without the sentinel's own word, which the reason says already.
func plain(err error) string {
	return strings.Replace(err.Error(), keyring.ErrInvalid.Error()+": ", "", 1)
}
