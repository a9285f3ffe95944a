package cli

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "intaglio.example/api/intagliov1"
)

// domain is the ErrorInfo domain of the service's errors.
const domain = "intaglio"

// Reasons of the command line's own about calls that no answer of the service explains.
const (
	Unreachable = "UNREACHABLE"
	NotTrusted  = "TLS_FAILED"
	Unexplained = "UNEXPLAINED"
)

// remedies says, for every reason of the API, what a person types or does next. {thing} is what the command was about.
var remedies = map[pb.Reason]string{
	pb.Reason_REASON_CALLER_UNKNOWN: "Use a client certificate with exactly one URI SAN or one DNS SAN:  intaglio context show",
	pb.Reason_REASON_GRANT_MISSING:  "Who are you?  intaglio context show.    An administrator can grant it:  intaglio grant create --help",
	pb.Reason_REASON_CALLER_BLOCKED: "Ask the people who respond to incidents; this identity is blocked on purpose.",
	pb.Reason_REASON_RATE_LIMITED:   "Wait, then repeat the command; ask for several tokens in one call.",

	pb.Reason_REASON_CLAIMS_MALFORMED:      `Send one JSON object:  echo '{"sub":"alice","aud":"…"}' | intaglio sign {thing}`,
	pb.Reason_REASON_CLAIM_DUPLICATE:       "Some verifiers would read the first and some the second. Send each name once.",
	pb.Reason_REASON_CLAIM_RESERVED:        "Leave iss, iat, exp and jti out: the service sets them. For exp use --ttl.",
	pb.Reason_REASON_CLAIMS_TOO_LARGE:      "Send less than 8 KiB, not deeply nested.",
	pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE: "See whom it signs for:  intaglio ring get {thing}",
	pb.Reason_REASON_TTL_OUT_OF_SCOPE:      "Ask for less with --ttl, or see the limit:  intaglio ring get {thing}",
	pb.Reason_REASON_CLAIM_INVALID:         "Give the claim the type that RFC 7519 gives it.",

	pb.Reason_REASON_RING_NOT_FOUND:     "See what there is:  intaglio ring list",
	pb.Reason_REASON_RING_SUSPENDED:     "A person stopped it; ask them first.  intaglio ring get {thing}",
	pb.Reason_REASON_NO_SIGNER:          "See what is missing:  intaglio plan {thing}",
	pb.Reason_REASON_KEY_PAST_CAP:       "Rotation has not run in time. See why:  intaglio plan {thing}    then:  intaglio rotate {thing}",
	pb.Reason_REASON_KEY_RETAINED:       "If it is no longer needed:  intaglio key release {thing}",
	pb.Reason_REASON_PROTECTION_TOO_LOW: "Choose a stronger backend, or lower it on purpose:  intaglio ring update {thing} --min-protection …",
	pb.Reason_REASON_NOT_PROPAGATED:     "Wait, or accept that some verifiers refuse its tokens for a while:  intaglio rotate {thing} --propagated-for DURATION --reason TEXT",
	pb.Reason_REASON_RING_USAGE_WRONG:   "See what it is for:  intaglio ring get {thing}",
	pb.Reason_REASON_KEY_DESTROYED:      "It cannot be brought back. See what is left:  intaglio key get {thing}",
	pb.Reason_REASON_KEY_STATE_WRONG:    "See where it is in its life:  intaglio key get {thing}",

	pb.Reason_REASON_SNAPSHOT_STALE:        "Try another replica, or repeat the command in a moment; the server's log says why it lost its store.",
	pb.Reason_REASON_STORE_WENT_BACK:       "Do not restart it until you know why. On its machine:  intaglio store verify --config FILE",
	pb.Reason_REASON_BACKEND_UNAVAILABLE:   "Repeat the command in a moment; if it lasts, look at the backend.",
	pb.Reason_REASON_BACKEND_THROTTLED:     "Wait, then repeat the command.",
	pb.Reason_REASON_BACKEND_TOO_POWERFUL:  "Take the right to export keys away from this service's identity in the backend.",
	pb.Reason_REASON_SIGNATURE_WRONG:       "Nothing was let out. Treat the backend as broken:  intaglio revoke backend --help",
	pb.Reason_REASON_DRAINING:              "Try another replica, or repeat the command when it is back.",
	pb.Reason_REASON_SIGNER_CHANGED:        "Repeat the command.",
	pb.Reason_REASON_ALGORITHM_UNSUPPORTED: "Choose another --algorithm or --backend.",
	pb.Reason_REASON_KEY_EXPORTABLE:        "Forbid export in the backend; such a key is never used.",

	pb.Reason_REASON_ETAG_MISMATCH:      "Read it again, then repeat the command.",
	pb.Reason_REASON_OPERATION_CONFLICT: "Somebody else was changing it. Repeat the command.",
	pb.Reason_REASON_IMPACT_GREW:        "Look again at what would fall: repeat the command without --confirm. To cut whatever falls, add --now.",
	pb.Reason_REASON_APPROVAL_REQUIRED:  "Ask a second person to approve.",
	pb.Reason_REASON_SELF_APPROVAL:      "Ask somebody else.",
	pb.Reason_REASON_AUDIT_UNAVAILABLE:  "Nothing was done. Repair the audit log, then repeat the command.",

	pb.Reason_REASON_ARGUMENT_INVALID:   "Correct it and repeat the command; --help has examples.",
	pb.Reason_REASON_FIELD_IMMUTABLE:    "Make a new one with the value you want, and move the callers over.",
	pb.Reason_REASON_REQUEST_ID_REUSED:  "Repeat the command without --request-id, or with the arguments it was first used with.",
	pb.Reason_REASON_PAGE_TOKEN_INVALID: "Repeat the command.",
	pb.Reason_REASON_BATCH_SIZE_INVALID: "Send between 1 and 256 at once.",

	pb.Reason_REASON_ISSUER_NOT_FOUND:  "See what there is:  intaglio issuer list",
	pb.Reason_REASON_KEY_NOT_FOUND:     "See what there is:  intaglio key list RING",
	pb.Reason_REASON_BACKEND_NOT_FOUND: "Look under backends: in the server's configuration for the names there are.",
	pb.Reason_REASON_GRANT_NOT_FOUND:   "See what there is:  intaglio grant list",
	pb.Reason_REASON_ALREADY_EXISTS:    "Choose another name, or look at the one there is: the same verb with get or list.",

	pb.Reason_REASON_INTERNAL:          "This is a defect. The server's log says more.",
	pb.Reason_REASON_STORE_UNAVAILABLE: "It may have been done. Repeat the command: that is safe.",
	pb.Reason_REASON_STORE_TAMPERED:    "Do not trust this database. On its machine:  intaglio store verify --config FILE",
	pb.Reason_REASON_STORE_UNUSABLE:    "See the server's log: the store is empty, or newer than the server.",
	pb.Reason_REASON_DEADLINE_EXCEEDED: "It may have been done. Repeat the command with a longer --timeout: that is safe.",
	pb.Reason_REASON_CANCELLED:         "Repeat the command.",
}

// Refused turns the error of a call into a Failure. what says what could not be done, and thing names what the
// remedy should speak of.
func Refused(err error, what, thing string) *Failure {
	st := status.Convert(err)
	f := &Failure{What: what, Why: st.Message(), Code: exitOf(st.Code()), Cause: err}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == domain {
				f.Reason = d.GetReason()
			}
		case *errdetails.BadRequest:
			f.Why = withFields(f.Why, d.GetFieldViolations())
		}
	}
	if f.Reason == "" {
		unexplained(f, st)
		return f
	}
	remedy, ok := remedies[pb.Reason(pb.Reason_value["REASON_"+f.Reason])]
	if !ok {
		remedy = "This server is newer than this program, which does not know the reason.  intaglio version"
	}
	f.Next = strings.ReplaceAll(remedy, "{thing}", thing)
	return f
}

// withFields names the fields to blame that the message does not speak of already.
func withFields(why string, violations []*errdetails.BadRequest_FieldViolation) string {
	for _, v := range violations {
		if v.GetDescription() != why && !strings.Contains(why, v.GetDescription()) {
			why += fmt.Sprintf("; %s: %s", v.GetField(), v.GetDescription())
		} else if v.GetField() != "" && !strings.Contains(why, v.GetField()) {
			why += " (" + v.GetField() + ")"
		}
	}
	return why
}

// unexplained gives a failure that did not come from a service of ours what can be said of it.
func unexplained(f *Failure, st *status.Status) {
	switch {
	case st.Code() == codes.Unavailable && strings.Contains(st.Message(), "handshake"),
		st.Code() == codes.Unavailable && strings.Contains(st.Message(), "tls:"):
		f.Reason, f.Next = NotTrusted, "The two sides do not trust each other's certificates. Yours, and until when it is good:  intaglio context show"
	case st.Code() == codes.Unavailable:
		f.Reason, f.Next = Unreachable, "Is the server running, and is this its address?  intaglio context show"
	case st.Code() == codes.DeadlineExceeded:
		f.Reason, f.Next = "DEADLINE_EXCEEDED", remedies[pb.Reason_REASON_DEADLINE_EXCEEDED]
	case st.Code() == codes.Canceled:
		f.Reason, f.Next = "CANCELLED", remedies[pb.Reason_REASON_CANCELLED]
	default:
		f.Reason, f.Next = Unexplained, "The answer did not come from an Intaglio server of this version. Its address:  intaglio context show"
	}
}

// exitOf is the one table from gRPC code to exit status.
func exitOf(c codes.Code) Code {
	switch c {
	case codes.OK:
		return Done
	case codes.Unauthenticated, codes.PermissionDenied:
		return Denied
	case codes.NotFound:
		return NotFound
	case codes.Aborted, codes.AlreadyExists:
		return Conflict
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled:
		return Unavailable
	}
	return Failed
}
