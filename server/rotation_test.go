package server

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
)

func TestRotateRing(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(operator), t.Context()
	kinds := func(steps []*pb.Step) string {
		var out []string
		for _, s := range steps {
			out = append(out, strings.TrimPrefix(s.GetKind().String(), "KIND_")+" "+s.GetKey()[strings.LastIndexByte(s.GetKey(), '/')+1:])
		}
		return strings.Join(out, ", ")
	}
	rotate := func(req *pb.RotateRingRequest) (*pb.RotateRingResponse, error) {
		req.Name = demo
		return c.RotateRing(ctx, req)
	}

	would, err := rotate(&pb.RotateRingRequest{ValidateOnly: true})
	no(t, err)
	is(t, "would", kinds(would.GetDone()), "RESERVE 2, MINT 2")
	is(t, "keys still", len(w.ring(demo).Keys), 1)
	res, err := rotate(&pb.RotateRingRequest{})
	no(t, err)
	is(t, "done", kinds(res.GetDone()), "RESERVE 2, MINT 2")
	is(t, "plan", kinds(res.GetPlan().GetSteps())[:len("ACTIVATE 2")], "ACTIVATE 2")
	is(t, "plan's keys", len(res.GetPlan().GetKeys()), 2)

	w.forward(3 * time.Minute)
	for _, dry := range []bool{true, false} {
		_, err = rotate(&pb.RotateRingRequest{ValidateOnly: dry})
		refused(t, err, pb.Reason_REASON_NOT_PROPAGATED, "")
		if !strings.Contains(err.Error(), "demo/access/2 has been published for 3m0s of 10m0s") {
			t.Errorf("it does not say for how long: %v", err)
		}
	}
	_, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(2 * time.Minute)})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "reason")
	_, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(4 * time.Minute), Reason: "drill"})
	refused(t, err, pb.Reason_REASON_NOT_PROPAGATED, "")
	_, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(-1), Reason: "drill"})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "propagated_for")
	_, err = rotate(&pb.RotateRingRequest{RequestId: "1"})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "request_id")
	res, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(2 * time.Minute), Reason: "drill"})
	no(t, err)
	is(t, "done", kinds(res.GetDone()), "ACTIVATE 2")
	is(t, "signer", w.signer(demo).Serial, 2)

	w.stage(demo)
	w.forward(10 * time.Minute)
	w.await("rotation by itself", func() bool { return w.signer(demo).Serial == 3 })
	w.stage(demo)
	res, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(0), Reason: "at once"})
	no(t, err)
	is(t, "done", kinds(res.GetDone()), "ACTIVATE 4")

	w.soft.down.Store(true)
	_, err = rotate(&pb.RotateRingRequest{})
	refused(t, err, pb.Reason_REASON_BACKEND_UNAVAILABLE, "")
}
