package server

import (
	"regexp"
	"slices"
	"strings"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// Defaults of a ring's settings.
const (
	defaultTyp         = "at+jwt" // RFC 9068
	defaultAlgorithm   = jws.ES256
	defaultTTL         = time.Hour
	defaultLifetime    = 14 * 24 * time.Hour
	defaultPropagation = 24 * time.Hour // some verifiers fetch key sets that slowly
	defaultSkew        = time.Minute
)

// Limits of a ring's settings that are not keyring's.
const (
	maxTyp        = 64
	maxLabels     = 32
	maxLabelValue = 128
)

// A setting is a part of a ring that people choose, under the name it has in an update mask. set reads it, or its
// default when it is empty, into a ring.
type setting struct {
	path string
	set  func(*admin, *keyring.Ring, *pb.Ring) error
}

// settings are all of them; default_ttl comes after max_ttl, on which its default rests.
var settings = []setting{
	{"algorithm", setAlgorithm},
	{"backend", setBackend},
	{"min_protection", setMinProtection},
	{"audiences", setAudiences},
	{"max_ttl", setMaxTTL},
	{"default_ttl", setDefaultTTL},
	{"rotation", setRotation},
	{"labels", setLabels},
}

// fixed are the parts of a ring that no update changes: its origin, and what the service reports.
var fixed = []string{"name", "typ", "usage", "state", "signer", "next_rotation_time", "etag", "create_time"}

// applyMask sets what an update's mask names.
func (s *admin) applyMask(r *keyring.Ring, req *pb.UpdateRingRequest) error {
	paths := req.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		return invalid("update_mask", "update_mask must name the settings to change")
	}
	for _, path := range paths {
		if slices.Contains(fixed, path) {
			return failField(pb.Reason_REASON_FIELD_IMMUTABLE, "ring."+path, "%s of a ring never changes by an update", path)
		}
		if !slices.ContainsFunc(settings, func(known setting) bool { return known.path == path }) {
			return invalid("update_mask", "update_mask names %s, which is no setting of a ring", quoted(path))
		}
	}
	for _, setting := range settings {
		if slices.Contains(paths, setting.path) {
			if err := setting.set(s, r, req.GetRing()); err != nil {
				return err
			}
		}
	}
	return nil
}

// mediaType is what stands in a typ: a media type without application/ (RFC 7515, section 4.1.9; RFC 6838, section 4.2).
var mediaType = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$`)

// setOrigin reads what never changes.
func setOrigin(r *keyring.Ring, from *pb.Ring) error {
	if usage, ok := fromProto(usages, from.GetUsage()); !ok || usage != keyring.Tokens {
		return invalid("ring.usage", "rings are made for USAGE_TOKENS, not for %s", from.GetUsage())
	}
	r.Scope.Usage, r.Scope.Typ = keyring.Tokens, from.GetTyp()
	if r.Scope.Typ == "" {
		r.Scope.Typ = defaultTyp
	}
	if len(r.Scope.Typ) > maxTyp || !mediaType.MatchString(r.Scope.Typ) {
		return invalid("ring.typ", "ring.typ %s is not a media type without application/ of at most %d bytes", quoted(r.Scope.Typ), maxTyp)
	}
	return nil
}

func setAlgorithm(_ *admin, r *keyring.Ring, from *pb.Ring) error {
	if r.Algorithm = from.GetAlgorithm(); r.Algorithm == "" {
		r.Algorithm = string(defaultAlgorithm)
	}
	if _, err := jws.ParseAlg(r.Algorithm); err != nil {
		return failField(pb.Reason_REASON_ALGORITHM_UNSUPPORTED, "ring.algorithm", "there is no algorithm %s: %v", quoted(r.Algorithm), jws.Algs())
	}
	return nil
}

// setBackend also asks the store to date the choice, so that an older cutoff's into gives way to it.
func setBackend(s *admin, r *keyring.Ring, from *pb.Ring) error {
	r.Backend, r.BackendSet = from.GetBackend(), 0
	if names := s.backends.Names(); r.Backend == "" && len(names) == 1 {
		r.Backend = names[0]
	}
	if r.Backend == "" {
		return invalid("ring.backend", "ring.backend must be one of %s", strings.Join(s.backends.Names(), ", "))
	}
	return nil
}

func setMinProtection(_ *admin, r *keyring.Ring, from *pb.Ring) error {
	if from.GetMinProtection() == pb.Protection_PROTECTION_UNSPECIFIED {
		r.MinProtection = keyring.Software
		return nil
	}
	least, ok := fromProto(protections, from.GetMinProtection())
	if !ok {
		return invalid("ring.min_protection", "ring.min_protection %d is unknown", from.GetMinProtection())
	}
	r.MinProtection = least
	return nil
}

func setAudiences(_ *admin, r *keyring.Ring, from *pb.Ring) error {
	a := from.GetAudiences()
	r.Scope.Audiences = keyring.Audiences{Exact: a.GetExact(), Prefixes: a.GetPrefixes(), Any: a.GetAny()}
	return nil
}

func setMaxTTL(_ *admin, r *keyring.Ring, from *pb.Ring) (err error) {
	r.Scope.MaxTTL, err = seconds("ring.max_ttl", from.GetMaxTtl(), defaultTTL)
	return err
}

func setDefaultTTL(_ *admin, r *keyring.Ring, from *pb.Ring) (err error) {
	r.DefaultTTL, err = seconds("ring.default_ttl", from.GetDefaultTtl(), r.Scope.MaxTTL)
	return err
}

func setRotation(_ *admin, r *keyring.Ring, from *pb.Ring) error {
	var err error
	given := from.GetRotation()
	if r.Rotation.Lifetime, err = seconds("ring.rotation.lifetime", given.GetLifetime(), defaultLifetime); err != nil {
		return err
	}
	if r.Rotation.Propagation, err = seconds("ring.rotation.propagation", given.GetPropagation(), defaultPropagation); err != nil {
		return err
	}
	r.Rotation.Skew, err = seconds("ring.rotation.skew", given.GetSkew(), defaultSkew)
	return err
}

func setLabels(_ *admin, r *keyring.Ring, from *pb.Ring) error {
	if r.Labels = from.GetLabels(); len(r.Labels) > maxLabels {
		return invalid("ring.labels", "a ring has at most %d labels, not %d", maxLabels, len(r.Labels))
	}
	for k, v := range r.Labels {
		if !keyring.ValidID(k) || len(v) > maxLabelValue {
			return invalid("ring.labels", "label %s: keys are a lower-case letter, then at most 39 letters, digits and hyphens; values have at most %d bytes", quoted(k), maxLabelValue)
		}
	}
	return nil
}
