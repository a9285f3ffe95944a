package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/backends"
	"intaglio.example/keyring"
	"intaglio.example/rotation"
)

// domain is the ErrorInfo domain of every error of ours.
const domain = "intaglio"

// fault is an error for a caller: one of the closed list of reasons, with words of its own.
type fault struct {
	reason  pb.Reason
	message string
	field   string // of the request, when one is to blame
	cause   error  // for the log, never for the caller
}

func (f *fault) Error() string { return f.message }
func (f *fault) Unwrap() error { return f.cause }

func fail(reason pb.Reason, format string, args ...any) *fault {
	return &fault{reason: reason, message: fmt.Sprintf(format, args...)}
}

// invalid blames one field of the request.
func invalid(field, format string, args ...any) *fault {
	return failField(pb.Reason_REASON_ARGUMENT_INVALID, field, format, args...)
}

func failField(reason pb.Reason, field, format string, args ...any) *fault {
	f := fail(reason, format, args...)
	f.field = field
	return f
}

// codeOf gives every reason its canonical code. A reason that is not here is INTERNAL, and a test asks for each.
var codeOf = map[pb.Reason]codes.Code{
	pb.Reason_REASON_CALLER_UNKNOWN: codes.Unauthenticated,
	pb.Reason_REASON_GRANT_MISSING:  codes.PermissionDenied,
	pb.Reason_REASON_CALLER_BLOCKED: codes.PermissionDenied,
	pb.Reason_REASON_RATE_LIMITED:   codes.ResourceExhausted,

	pb.Reason_REASON_CLAIMS_MALFORMED:      codes.InvalidArgument,
	pb.Reason_REASON_CLAIM_DUPLICATE:       codes.InvalidArgument,
	pb.Reason_REASON_CLAIM_RESERVED:        codes.InvalidArgument,
	pb.Reason_REASON_CLAIMS_TOO_LARGE:      codes.InvalidArgument,
	pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE: codes.InvalidArgument,
	pb.Reason_REASON_TTL_OUT_OF_SCOPE:      codes.InvalidArgument,
	pb.Reason_REASON_CLAIM_INVALID:         codes.InvalidArgument,

	pb.Reason_REASON_RING_NOT_FOUND:     codes.NotFound,
	pb.Reason_REASON_RING_SUSPENDED:     codes.FailedPrecondition,
	pb.Reason_REASON_NO_SIGNER:          codes.FailedPrecondition,
	pb.Reason_REASON_KEY_PAST_CAP:       codes.FailedPrecondition,
	pb.Reason_REASON_KEY_RETAINED:       codes.FailedPrecondition,
	pb.Reason_REASON_PROTECTION_TOO_LOW: codes.FailedPrecondition,
	pb.Reason_REASON_NOT_PROPAGATED:     codes.FailedPrecondition,
	pb.Reason_REASON_RING_USAGE_WRONG:   codes.FailedPrecondition,
	pb.Reason_REASON_KEY_DESTROYED:      codes.FailedPrecondition,
	pb.Reason_REASON_KEY_STATE_WRONG:    codes.FailedPrecondition,

	pb.Reason_REASON_SNAPSHOT_STALE:        codes.Unavailable,
	pb.Reason_REASON_STORE_WENT_BACK:       codes.Unavailable,
	pb.Reason_REASON_BACKEND_UNAVAILABLE:   codes.Unavailable,
	pb.Reason_REASON_BACKEND_THROTTLED:     codes.ResourceExhausted,
	pb.Reason_REASON_BACKEND_TOO_POWERFUL:  codes.FailedPrecondition,
	pb.Reason_REASON_SIGNATURE_WRONG:       codes.Internal,
	pb.Reason_REASON_DRAINING:              codes.Unavailable,
	pb.Reason_REASON_SIGNER_CHANGED:        codes.Unavailable,
	pb.Reason_REASON_ALGORITHM_UNSUPPORTED: codes.InvalidArgument,
	pb.Reason_REASON_KEY_EXPORTABLE:        codes.FailedPrecondition,

	pb.Reason_REASON_ETAG_MISMATCH:      codes.Aborted,
	pb.Reason_REASON_OPERATION_CONFLICT: codes.Aborted,
	pb.Reason_REASON_IMPACT_GREW:        codes.Aborted,
	pb.Reason_REASON_APPROVAL_REQUIRED:  codes.FailedPrecondition,
	pb.Reason_REASON_SELF_APPROVAL:      codes.PermissionDenied,
	pb.Reason_REASON_AUDIT_UNAVAILABLE:  codes.Unavailable,

	pb.Reason_REASON_ARGUMENT_INVALID:   codes.InvalidArgument,
	pb.Reason_REASON_FIELD_IMMUTABLE:    codes.InvalidArgument,
	pb.Reason_REASON_REQUEST_ID_REUSED:  codes.InvalidArgument,
	pb.Reason_REASON_PAGE_TOKEN_INVALID: codes.InvalidArgument,
	pb.Reason_REASON_BATCH_SIZE_INVALID: codes.InvalidArgument,

	pb.Reason_REASON_ISSUER_NOT_FOUND:  codes.NotFound,
	pb.Reason_REASON_KEY_NOT_FOUND:     codes.NotFound,
	pb.Reason_REASON_BACKEND_NOT_FOUND: codes.NotFound,
	pb.Reason_REASON_GRANT_NOT_FOUND:   codes.NotFound,
	pb.Reason_REASON_ALREADY_EXISTS:    codes.AlreadyExists,

	pb.Reason_REASON_INTERNAL:          codes.Internal,
	pb.Reason_REASON_STORE_UNAVAILABLE: codes.Unavailable,
	pb.Reason_REASON_STORE_TAMPERED:    codes.Unavailable,
	pb.Reason_REASON_STORE_UNUSABLE:    codes.FailedPrecondition,
	pb.Reason_REASON_DEADLINE_EXCEEDED: codes.DeadlineExceeded,
	pb.Reason_REASON_CANCELLED:         codes.Canceled,
}

// sentinels gives the errors of the rooms below their reason, the more telling first: an error may wrap several. Where
// words are given, they replace the error's own, which stay in the log.
var sentinels = []struct {
	err    error
	reason pb.Reason
	words  string
}{
	{context.Canceled, pb.Reason_REASON_CANCELLED, "the caller went away"},
	{context.DeadlineExceeded, pb.Reason_REASON_DEADLINE_EXCEEDED, "the deadline passed before the answer was ready"},
	{rotation.ErrNotPropagated, pb.Reason_REASON_NOT_PROPAGATED, ""},
	{rotation.ErrNothingToRotate, pb.Reason_REASON_RING_USAGE_WRONG, ""},
	{backends.ErrUnknownBackend, pb.Reason_REASON_BACKEND_NOT_FOUND, ""},
	{backends.ErrTooWeak, pb.Reason_REASON_PROTECTION_TOO_LOW, ""},
	{backends.ErrExportable, pb.Reason_REASON_KEY_EXPORTABLE, ""},
	{backends.ErrWrongSignature, pb.Reason_REASON_SIGNATURE_WRONG, "the backend returned a signature that does not verify; nothing was let out"},
	{backends.ErrKeyNotFound, pb.Reason_REASON_BACKEND_UNAVAILABLE, "the backend does not have the ring's key"},
	{backends.ErrUnavailable, pb.Reason_REASON_BACKEND_UNAVAILABLE, "the backend does not answer"},
	{backends.ErrUnsupported, pb.Reason_REASON_ALGORITHM_UNSUPPORTED, "the backend cannot make or use keys of this algorithm"},
	{backends.ErrDisabled, pb.Reason_REASON_BACKEND_UNAVAILABLE, "the backend has disabled the ring's key"},
	{backends.ErrUnusable, pb.Reason_REASON_BACKEND_UNAVAILABLE, "the backend cannot use the ring's key"},
	{backends.ErrMismatch, pb.Reason_REASON_INTERNAL, "the backend holds another key than was recorded"},
	{backends.ErrInvalid, pb.Reason_REASON_INTERNAL, "the backend was asked for what cannot be; the server has logged why"},
	{keyring.ErrStale, pb.Reason_REASON_SNAPSHOT_STALE, "this replica has lost touch with its store; try another"},
	{keyring.ErrRollback, pb.Reason_REASON_STORE_WENT_BACK, "this replica refuses its store, which went back in time"},
	{keyring.ErrTampered, pb.Reason_REASON_STORE_TAMPERED, "this replica refuses its store, which was tampered with"},
	{keyring.ErrNewerSchema, pb.Reason_REASON_STORE_UNUSABLE, "this replica is too old for its store"},
	{keyring.ErrNotInitialised, pb.Reason_REASON_STORE_UNUSABLE, "the store is not initialised"},
	{keyring.ErrConflict, pb.Reason_REASON_OPERATION_CONFLICT, "it was changed by somebody else at the same time; read it again, then retry"},
	{keyring.ErrInvalid, pb.Reason_REASON_ARGUMENT_INVALID, ""},
	{keyring.ErrRefused, pb.Reason_REASON_ARGUMENT_INVALID, ""},
	{keyring.ErrKidKnown, pb.Reason_REASON_INTERNAL, "the backend returned a key that was recorded before"},
}

// asFault finds an error its place in the closed list. What is not in it is INTERNAL, and says nothing more to the caller.
func asFault(err error) *fault {
	if f := (*fault)(nil); errors.As(err, &f) {
		return f
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			words := s.words
			if words == "" {
				words = err.Error()
			}
			return &fault{reason: s.reason, message: words, cause: err}
		}
	}
	return &fault{reason: pb.Reason_REASON_INTERNAL, message: "the server failed; it has logged why", cause: err}
}

// status is how the fault travels: a canonical code, its reason, the field to blame, and when to try again.
func (f *fault) status() *status.Status {
	code, ok := codeOf[f.reason]
	if !ok {
		code = codes.Internal
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason: strings.TrimPrefix(f.reason.String(), "REASON_"), Domain: domain,
	}}
	if f.field != "" {
		details = append(details, &errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: f.field, Description: f.message}},
		})
	}
	if code == codes.Unavailable || code == codes.ResourceExhausted {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	}
	st, err := status.New(code, f.message).WithDetails(details...)
	if err != nil { // only a message of ours that cannot be encoded
		return status.New(code, f.message)
	}
	return st
}

// GRPCStatus lets gRPC find the status.
func (f *fault) GRPCStatus() *status.Status { return f.status() }

// report turns err into what the caller sees, and logs what the caller does not.
func (s *Server) report(method string, err error) error {
	f := asFault(err)
	s.metrics.refused(f.reason)
	if f.cause != nil && f.reason != pb.Reason_REASON_CANCELLED {
		s.log.Warn("a call failed", "method", method, "reason", f.reason.String(), "error", f.cause)
	}
	return f
}
