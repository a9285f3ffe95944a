package server

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/rotation"
)

// Names. Requests may use the short forms, which are keyring's own; answers use the long ones.

// quoted shows what a caller sent in a message, however long or strange it is.
func quoted(s string) string {
	const enough = 80
	if len(s) > enough {
		return strconv.QuoteToASCII(s[:enough]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// idIn checks an id that the caller chose.
func idIn(field, id string) error {
	if !keyring.ValidID(id) {
		return invalid(field, "%s %s is not a lower-case letter, then at most 39 letters, digits and hyphens", field, quoted(id))
	}
	return nil
}

// ringIn reads the ring that field names: payments/access, or issuers/payments/rings/access.
func ringIn(field, name string) (string, error) {
	short := name
	if rest, ok := strings.CutPrefix(name, "issuers/"); ok {
		if issuer, ring, ok := strings.Cut(rest, "/rings/"); ok {
			short = issuer + "/" + ring
		}
	}
	if _, _, err := keyring.SplitRing(short); err != nil {
		return "", invalid(field, "%s does not name a ring: payments/access, or issuers/payments/rings/access", quoted(name))
	}
	return short, nil
}

// issuerIn reads the issuer that field names: payments, or issuers/payments.
func issuerIn(field, name string) (string, error) {
	short := strings.TrimPrefix(name, "issuers/")
	if !keyring.ValidID(short) {
		return "", invalid(field, "%s does not name an issuer: payments, or issuers/payments", quoted(name))
	}
	return short, nil
}

// keyIn reads the key that field names: payments/access/17, or issuers/payments/rings/access/keys/17.
func keyIn(field, name string) (ring string, serial uint64, err error) {
	short := name
	if p := strings.Split(name, "/"); len(p) == 6 && p[0] == "issuers" && p[2] == "rings" && p[4] == "keys" {
		short = p[1] + "/" + p[3] + "/" + p[5]
	}
	if ring, serial, err = keyring.SplitKey(short); err != nil {
		return "", 0, invalid(field, "%s does not name a key: payments/access/17, or issuers/payments/rings/access/keys/17", quoted(name))
	}
	return ring, serial, nil
}

// grantIn reads the grant that field names: payments-web, or grants/payments-web.
func grantIn(field, name string) (string, error) {
	short := strings.TrimPrefix(name, "grants/")
	if !keyring.ValidID(short) {
		return "", invalid(field, "%s does not name a grant: payments-web, or grants/payments-web", quoted(name))
	}
	return short, nil
}

func longIssuer(name string) string { return "issuers/" + name }

func longRing(name string) string {
	issuer, ring, _ := strings.Cut(name, "/")
	return "issuers/" + issuer + "/rings/" + ring
}

func longKey(ring string, serial uint64) string {
	return longRing(ring) + "/keys/" + strconv.FormatUint(serial, 10)
}

// Enums. The numbers of keyring and of the contract need not agree, so each pair is written down.

var (
	usages = map[keyring.Usage]pb.Ring_Usage{
		keyring.Tokens: pb.Ring_USAGE_TOKENS, keyring.Kubernetes: pb.Ring_USAGE_KUBERNETES,
		keyring.Raw: pb.Ring_USAGE_RAW, keyring.VerifyOnly: pb.Ring_USAGE_VERIFY_ONLY,
	}
	protections = map[keyring.Protection]pb.Protection{
		keyring.Software: pb.Protection_PROTECTION_SOFTWARE, keyring.Remote: pb.Protection_PROTECTION_REMOTE,
		keyring.HSM: pb.Protection_PROTECTION_HSM,
	}
	keyStates = map[keyring.State]pb.Key_State{
		keyring.Reserved: pb.Key_STATE_RESERVED, keyring.Staged: pb.Key_STATE_STAGED, keyring.Active: pb.Key_STATE_ACTIVE,
		keyring.Retiring: pb.Key_STATE_RETIRING, keyring.Retired: pb.Key_STATE_RETIRED, keyring.Revoked: pb.Key_STATE_REVOKED,
	}
	verbs = map[keyring.Verb]pb.Grant_Verb{
		keyring.Sign: pb.Grant_VERB_SIGN, keyring.Verify: pb.Grant_VERB_VERIFY, keyring.Operate: pb.Grant_VERB_OPERATE,
		keyring.Respond: pb.Grant_VERB_RESPOND, keyring.Approve: pb.Grant_VERB_APPROVE, keyring.Admin: pb.Grant_VERB_ADMIN,
		keyring.Audit: pb.Grant_VERB_AUDIT,
	}
	stepKinds = map[rotation.Kind]pb.Step_Kind{
		rotation.Reserve: pb.Step_KIND_RESERVE, rotation.Mint: pb.Step_KIND_MINT, rotation.Activate: pb.Step_KIND_ACTIVATE,
		rotation.Revoke: pb.Step_KIND_REVOKE, rotation.Unpublish: pb.Step_KIND_UNPUBLISH, rotation.Condemn: pb.Step_KIND_CONDEMN,
		rotation.Destroy: pb.Step_KIND_DESTROY, rotation.Forget: pb.Step_KIND_FORGET,
	}
)

// fromProto looks an enum's value up the other way; false for the zero value and for values this server does not know.
func fromProto[K, V comparable](table map[K]V, v V) (k K, ok bool) {
	for known, value := range table {
		if value == v {
			return known, true
		}
	}
	return k, false
}

// Resources.

// etag is the revision of a row's last write; empty for a row that was never written.
func etag(r keyring.Revision) string {
	if r == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(r), 10)
}

// instantToProto leaves out what has not happened.
func instantToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func issuerToProto(i *keyring.Issuer) *pb.Issuer {
	return &pb.Issuer{Name: longIssuer(i.Name), Uri: i.URL, CreateTime: instantToProto(i.Created), Etag: etag(i.Revision)}
}

func grantToProto(g *keyring.Grant) *pb.Grant {
	out := &pb.Grant{Name: "grants/" + g.Name, Principal: g.Principal, Rings: g.Rings, CreateTime: instantToProto(g.Created), Etag: etag(g.Revision)}
	for _, v := range g.Verbs {
		out.Verbs = append(out.Verbs, verbs[v])
	}
	return out
}

// ringToProto shows a ring as snap has it; steps is its plan.
func ringToProto(line *keyring.Line, steps []rotation.Step) *pb.Ring {
	r := line.Ring
	out := &pb.Ring{
		Name: longRing(r.Name), Typ: r.Scope.Typ, Usage: usages[r.Scope.Usage],
		Algorithm: r.Algorithm, Backend: r.Backend, MinProtection: protections[r.MinProtection],
		Audiences:  audiencesToProto(r.Scope.Audiences),
		DefaultTtl: durationpb.New(r.DefaultTTL), MaxTtl: durationpb.New(r.Scope.MaxTTL),
		Rotation: &pb.Rotation{
			Lifetime: durationpb.New(r.Rotation.Lifetime), Propagation: durationpb.New(r.Rotation.Propagation), Skew: durationpb.New(r.Rotation.Skew),
		},
		Labels: r.Labels, State: pb.Ring_STATE_NO_SIGNER,
		NextRotationTime: instantToProto(nextRotation(line, steps)), Etag: etag(r.Revision), CreateTime: instantToProto(r.Created),
	}
	if line.Signer != nil {
		out.State, out.Signer = pb.Ring_STATE_SIGNING, longKey(r.Name, line.Signer.Serial)
	}
	return out
}

// nextRotation is when the plan will change the ring's signer: when its successor is activated, or when one that is yet
// to be made can be.
func nextRotation(line *keyring.Line, steps []rotation.Step) time.Time {
	wait := line.Ring.Rotation.Propagation
	if line.Signer == nil {
		wait = 0 // nothing else can sign: the successor does so as soon as it is made
	}
	for _, step := range steps {
		switch step.Kind {
		case rotation.Activate:
			return step.Due
		case rotation.Reserve, rotation.Mint:
			return step.Due.Add(wait)
		}
	}
	return time.Time{}
}

func keyToProto(snap *keyring.Snapshot, ring *keyring.Ring, k *keyring.Key) *pb.Key {
	since := map[keyring.State]time.Time{
		keyring.Reserved: k.Created, keyring.Staged: k.Staged, keyring.Active: k.Activated, keyring.Retiring: k.Retiring, keyring.Retired: k.Retired,
	}
	out := &pb.Key{
		Name: longKey(ring.Name, k.Serial), State: keyStates[k.State], Kid: k.Kid, Algorithm: k.Algorithm,
		Backend: k.Backend, Protection: protections[k.Protection], Retained: k.Retain, ReservedRevision: int64(k.Reserved),
		Window: windowToProto(k.Window), DestroyTime: instantToProto(k.Destroyed), StateTime: instantToProto(since[k.State]),
	}
	if snap.Revoked(ring, k) {
		out.State, out.StateTime = pb.Key_STATE_REVOKED, revokedKey(snap, ring, k).RevokeTime
	}
	return out
}

func stepsToProto(ring string, steps []rotation.Step) []*pb.Step {
	out := make([]*pb.Step, 0, len(steps))
	for _, s := range steps {
		out = append(out, &pb.Step{
			Kind: stepKinds[s.Kind], Key: longKey(ring, s.Serial), DueTime: timestamppb.New(s.Due), Reason: s.Why,
		})
	}
	return out
}

func planToProto(snap *keyring.Snapshot, ring *keyring.Ring, steps []rotation.Step) *pb.Plan {
	plan := &pb.Plan{Ring: longRing(ring.Name), Steps: stepsToProto(ring.Name, steps)}
	for i := len(ring.Keys) - 1; i >= 0; i-- {
		if k := &ring.Keys[i]; k.Destroyed.IsZero() {
			plan.Keys = append(plan.Keys, keyToProto(snap, ring, k))
		}
	}
	return plan
}

func audiencesToProto(a keyring.Audiences) *pb.Audiences {
	return &pb.Audiences{Exact: a.Exact, Prefixes: a.Prefixes, Any: a.Any}
}

func windowToProto(w keyring.Window) *pb.Window {
	if w.NotBefore.IsZero() {
		return nil
	}
	return &pb.Window{NotBefore: timestamppb.New(w.NotBefore), SignUntil: timestamppb.New(w.SignUntil), VerifyUntil: timestamppb.New(w.VerifyUntil)}
}

// longest is longer than any duration of a ring has reason to be, and short enough that sums of a few never overflow.
const longest = 100 * 365 * 24 * time.Hour

// seconds reads a duration of whole seconds that is not negative; otherwise when it is unset.
func seconds(field string, d *durationpb.Duration, otherwise time.Duration) (time.Duration, error) {
	if d == nil {
		return otherwise, nil
	}
	if err := d.CheckValid(); err != nil || d.GetSeconds() < 0 || d.GetNanos() != 0 || d.GetSeconds() > int64(longest/time.Second) {
		return 0, invalid(field, "%s must be whole seconds, from 0 to a century", field)
	}
	return d.AsDuration(), nil
}
