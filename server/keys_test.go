package server

import (
	"testing"

	pb "intaglio.example/api/intagliov1"
)

// TestKeys: names in both forms, newest first, and pages.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(operator), t.Context()
	w.stage(demo)
	list, err := c.ListKeys(ctx, &pb.ListKeysRequest{Parent: demo, PageSize: 1})
	no(t, err)
	is(t, "newest", list.GetKeys()[0].GetName(), "issuers/demo/rings/access/keys/2")
	is(t, "its state", list.GetKeys()[0].GetState(), pb.Key_STATE_STAGED)
	list, err = c.ListKeys(ctx, &pb.ListKeysRequest{Parent: "issuers/demo/rings/access", PageSize: 1, PageToken: list.GetNextPageToken()})
	no(t, err)
	is(t, "oldest", list.GetKeys()[0].GetName(), "issuers/demo/rings/access/keys/1")
	is(t, "no more", list.GetNextPageToken(), "")
	for _, name := range []string{"demo/access/1", "issuers/demo/rings/access/keys/1"} {
		k, err := c.GetKey(ctx, &pb.GetKeyRequest{Name: name})
		no(t, err)
		is(t, "kid", k.GetKid(), w.signer(demo).Kid)
		is(t, "state", k.GetState(), pb.Key_STATE_ACTIVE)
		is(t, "protection", k.GetProtection(), pb.Protection_PROTECTION_SOFTWARE)
		is(t, "sign_until", k.GetWindow().GetSignUntil().AsTime(), w.signer(demo).Window.SignUntil)
	}
	for _, name := range []string{"", "demo/access", "demo/access/0", "demo/access/01", "issuers/demo/rings/access/keys/x", "issuers/demo/access/1", "demo/keys/access/1"} {
		_, err := c.GetKey(ctx, &pb.GetKeyRequest{Name: name})
		refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "name")
	}
}

func TestRetain(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(keeper), t.Context()
	k, err := c.RetainKey(ctx, &pb.RetainKeyRequest{Name: demo + "/1", ValidateOnly: true})
	no(t, err)
	is(t, "retained, checked", k.GetRetained(), true)
	is(t, "retained, still", w.signer(demo).Retain, false)
	for range 2 {
		k, err = c.RetainKey(ctx, &pb.RetainKeyRequest{Name: demo + "/1"})
		no(t, err)
		is(t, "retained", k.GetRetained(), true)
	}
	for range 2 {
		k, err = c.ReleaseKey(ctx, &pb.ReleaseKeyRequest{Name: demo + "/1"})
		no(t, err)
		is(t, "released", k.GetRetained(), false)
	}
	// A revoked key is condemned at once, and cannot be kept after that.
	_, err = w.as(respond).Revoke(ctx, &pb.RevokeRequest{Scope: scopeKey(demo + "/1"), Reason: "drill", CutFirst: true, RequestId: newID()})
	no(t, err)
	w.await("the intent to destroy", func() bool { k := w.ring(demo).Key(1); return k == nil || !k.Destroy.IsZero() })
	_, err = c.RetainKey(ctx, &pb.RetainKeyRequest{Name: demo + "/1"})
	refused(t, err, pb.Reason_REASON_KEY_DESTROYED, "")
}
