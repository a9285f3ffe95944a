package server

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "intaglio.example/api/intagliov1"
)

// A call is one RPC, about things that exist or about things that do not.
type call struct {
	do func(ctx context.Context, c client, at things) error
	// missing is what a caller who may do it hears about things that do not exist; 0 when there is nothing to miss.
	missing pb.Reason
	// whole: the grant it takes covers the whole store, so none on demo/* is enough.
	whole bool
}

// things are the names a call is about.
type things struct{ issuer, ring, key, grant string }

var (
	here  = things{"demo", demo, demo + "/1", "app"}
	there = things{"demo", "demo/none", "demo/none/1", "none"}
	// nowhere shares no issuer with anything that exists.
	nowhere = things{"none", "none/none", "none/none/1", "none"}
)

// calls are all RPCs of the API.
var calls = map[protoreflect.FullName]call{
	"intaglio.v1.SigningService.SignToken": {missing: pb.Reason_REASON_RING_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.SignToken(ctx, &pb.SignTokenRequest{Ring: at.ring, Claims: claims()})
		return err
	}},
	"intaglio.v1.SigningService.BatchSignTokens": {do: func(ctx context.Context, c client, at things) error {
		res, err := c.BatchSignTokens(ctx, &pb.BatchSignTokensRequest{Requests: []*pb.SignTokenRequest{{Ring: at.ring, Claims: claims()}}})
		if err != nil {
			return err
		}
		return itemError(res.GetResults()[0])
	}, missing: pb.Reason_REASON_RING_NOT_FOUND},
	"intaglio.v1.SigningService.GetSigner": {missing: pb.Reason_REASON_RING_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.GetSigner(ctx, &pb.GetSignerRequest{Ring: at.ring})
		return err
	}},
	"intaglio.v1.KeySetService.GetKeySet": {missing: pb.Reason_REASON_ISSUER_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.GetKeySet(ctx, &pb.GetKeySetRequest{Issuer: at.issuer})
		return err
	}},

	"intaglio.v1.AdminService.CreateIssuer": {whole: true, do: func(ctx context.Context, c client, at things) error {
		_, err := c.CreateIssuer(ctx, &pb.CreateIssuerRequest{IssuerId: "new", Issuer: &pb.Issuer{Uri: "https://new.test"}, ValidateOnly: true})
		return err
	}},
	"intaglio.v1.AdminService.GetIssuer": {missing: pb.Reason_REASON_ISSUER_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.GetIssuer(ctx, &pb.GetIssuerRequest{Name: at.issuer})
		return err
	}},
	"intaglio.v1.AdminService.ListIssuers": {whole: true, do: func(ctx context.Context, c client, at things) error {
		_, err := c.ListIssuers(ctx, &pb.ListIssuersRequest{})
		return err
	}},
	"intaglio.v1.AdminService.CreateRing": {missing: pb.Reason_REASON_ISSUER_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.CreateRing(ctx, &pb.CreateRingRequest{Parent: at.issuer, RingId: "new", Ring: demoRing(), ValidateOnly: true})
		return err
	}},
	"intaglio.v1.AdminService.GetRing": {missing: pb.Reason_REASON_RING_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.GetRing(ctx, &pb.GetRingRequest{Name: at.ring})
		return err
	}},
	"intaglio.v1.AdminService.ListRings": {missing: pb.Reason_REASON_ISSUER_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.ListRings(ctx, &pb.ListRingsRequest{Parent: at.issuer})
		return err
	}},
	"intaglio.v1.AdminService.UpdateRing": {missing: pb.Reason_REASON_RING_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.UpdateRing(ctx, &pb.UpdateRingRequest{Ring: &pb.Ring{Name: at.ring}, UpdateMask: mask("labels"), ValidateOnly: true})
		return err
	}},
	"intaglio.v1.AdminService.GetKey": {missing: pb.Reason_REASON_KEY_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.GetKey(ctx, &pb.GetKeyRequest{Name: at.key})
		return err
	}},
	"intaglio.v1.AdminService.ListKeys": {missing: pb.Reason_REASON_RING_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.ListKeys(ctx, &pb.ListKeysRequest{Parent: at.ring})
		return err
	}},
	"intaglio.v1.AdminService.RetainKey": {missing: pb.Reason_REASON_KEY_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.RetainKey(ctx, &pb.RetainKeyRequest{Name: at.key, ValidateOnly: true})
		return err
	}},
	"intaglio.v1.AdminService.ReleaseKey": {missing: pb.Reason_REASON_KEY_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.ReleaseKey(ctx, &pb.ReleaseKeyRequest{Name: at.key, ValidateOnly: true})
		return err
	}},
	"intaglio.v1.AdminService.PlanRotation": {missing: pb.Reason_REASON_RING_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.PlanRotation(ctx, &pb.PlanRotationRequest{Name: at.ring})
		return err
	}},
	"intaglio.v1.AdminService.RotateRing": {missing: pb.Reason_REASON_RING_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.RotateRing(ctx, &pb.RotateRingRequest{Name: at.ring, ValidateOnly: true})
		return err
	}},
	"intaglio.v1.AdminService.CreateGrant": {whole: true, do: func(ctx context.Context, c client, at things) error {
		_, err := c.CreateGrant(ctx, &pb.CreateGrantRequest{GrantId: "new", Grant: signGrant("spiffe://test/new"), ValidateOnly: true})
		return err
	}},
	"intaglio.v1.AdminService.ListGrants": {whole: true, do: func(ctx context.Context, c client, at things) error {
		_, err := c.ListGrants(ctx, &pb.ListGrantsRequest{})
		return err
	}},
	"intaglio.v1.AdminService.DeleteGrant": {whole: true, missing: pb.Reason_REASON_GRANT_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.DeleteGrant(ctx, &pb.DeleteGrantRequest{Name: at.grant, ValidateOnly: true})
		return err
	}},

	"intaglio.v1.RevocationService.PreviewRevocation": {missing: pb.Reason_REASON_KEY_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.PreviewRevocation(ctx, &pb.PreviewRevocationRequest{Scope: scopeKey(at.key)})
		return err
	}},
	// The impact that was seen is another one, so that who may revoke is stopped at the last moment.
	"intaglio.v1.RevocationService.Revoke": {missing: pb.Reason_REASON_KEY_NOT_FOUND, do: func(ctx context.Context, c client, at things) error {
		_, err := c.Revoke(ctx, &pb.RevokeRequest{Scope: scopeKey(at.key), Reason: "drill", CutFirst: true, RequestId: newID(), ImpactDigest: "00"})
		if st, _ := detailsOf(status.Convert(err)); st == pb.Reason_REASON_IMPACT_GREW.String() {
			return nil
		}
		return err
	}},
}

// TestCallsAreAll keeps the table complete.
func TestCallsAreAll(t *testing.T) {
	known := 0
	for _, file := range []protoreflect.FileDescriptor{pb.File_intaglio_v1_signing_proto, pb.File_intaglio_v1_keyset_proto, pb.File_intaglio_v1_admin_proto, pb.File_intaglio_v1_revocation_proto} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				known++
				if _, ok := calls[methods.Get(j).FullName()]; !ok {
					t.Errorf("%s is not in the table", methods.Get(j).FullName())
				}
			}
		}
	}
	is(t, "methods", len(calls), known)
}

// TestEveryCallIsGuarded: a caller without a name, without a grant, or with a grant for something else is refused, and
// hears the same whether or not the thing exists. Who may is let in, and only they hear that something does not exist.
func TestEveryCallIsGuarded(t *testing.T) {
	w := newWorld(t)
	unnamed, none, other, may := w.as(nameless), w.as(stranger), w.as(respond), w.as(root)
	for name, call := range calls {
		t.Run(string(name), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			wrong := other // responders may do nothing but respond
			if name.Parent().Name() == "RevocationService" {
				wrong = w.as(app)
			}
			for _, at := range []things{here, there, nowhere} {
				refused(t, call.do(ctx, unnamed, at), pb.Reason_REASON_CALLER_UNKNOWN, "")
				refused(t, call.do(ctx, none, at), pb.Reason_REASON_GRANT_MISSING, "")
				refused(t, call.do(ctx, wrong, at), pb.Reason_REASON_GRANT_MISSING, "")
			}
			no(t, call.do(ctx, may, here))
			if call.missing != 0 {
				refused(t, call.do(ctx, may, nowhere), call.missing, "")
			} else {
				no(t, call.do(ctx, may, nowhere))
			}
		})
	}
}

// TestGrantsEndWhereTheySay: each of the lesser callers can do what their grants say, and nothing more.
func TestGrantsEndWhereTheySay(t *testing.T) {
	w := newWorld(t)
	allowed := map[string][]string{
		app:      {"SignToken", "BatchSignTokens", "GetSigner", "GetKeySet"},
		operator: {"GetRing", "ListRings", "GetKey", "ListKeys", "PlanRotation", "RotateRing"},
		keeper:   {"GetRing", "ListRings", "GetKey", "ListKeys", "PlanRotation", "UpdateRing", "RetainKey", "ReleaseKey"},
		respond:  {"PreviewRevocation", "Revoke"},
	}
	for principal, methods := range allowed {
		may := map[string]bool{}
		for _, m := range methods {
			may[m] = true
		}
		c := w.as(principal)
		for name, call := range calls {
			if err := call.do(t.Context(), c, here); may[string(name.Name())] {
				if err != nil {
					t.Errorf("%s cannot %s: %v", principal, name.Name(), err)
				}
			} else {
				t.Run(principal+" "+string(name.Name()), func(t *testing.T) { refused(t, err, pb.Reason_REASON_GRANT_MISSING, "") })
			}
		}
	}
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

func signGrant(principal string) *pb.Grant {
	return &pb.Grant{Principal: principal, Verbs: []pb.Grant_Verb{pb.Grant_VERB_SIGN}, Rings: []string{"demo/*"}}
}

func scopeKey(name string) *pb.Scope  { return &pb.Scope{Scope: &pb.Scope_Key{Key: name}} }
func scopeRing(name string) *pb.Scope { return &pb.Scope{Scope: &pb.Scope_Ring{Ring: name}} }
func scopeIssuer(n string) *pb.Scope  { return &pb.Scope{Scope: &pb.Scope_Issuer{Issuer: n}} }
func scopeBackend(n string) *pb.Scope { return &pb.Scope{Scope: &pb.Scope_Backend{Backend: n}} }
func scopeAll() *pb.Scope             { return &pb.Scope{Scope: &pb.Scope_All{All: &emptypb.Empty{}}} }
func claims() []byte                  { return []byte(`{"sub":"alice","aud":"` + aud + `"}`) }
