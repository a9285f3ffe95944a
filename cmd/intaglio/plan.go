package main

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
)

func newPlan(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "plan [RING | ISSUER/-]", Short: "Show what rotation will do, when, and why",
		Long:    "Show what rotation will do to a ring, to an issuer's, or to all. The server follows this same plan by itself.",
		Example: "  intaglio plan payments/access\n  intaglio plan payments/-\n  intaglio plan -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			which := "-/-"
			if len(args) == 1 {
				which = args[0]
			}
			all := &pb.PlanRotationResponse{}
			err := pages(func(token string) (string, error) {
				page, err := c.Admin.PlanRotation(ctx, &pb.PlanRotationRequest{Name: which, PageSize: pageSize, PageToken: token})
				all.Plans = append(all.Plans, page.GetPlans()...)
				return page.GetNextPageToken(), err
			})
			if err != nil {
				return cli.Refused(err, "cannot plan the rotation of "+which, which)
			}
			var rings []string
			for _, p := range all.GetPlans() {
				rings = append(rings, cli.Short(p.GetRing()))
			}
			return a.printer().Message(all, rings, func(w io.Writer) { planTable(w, all.GetPlans(), nil, "") })
		}),
	}
}

// planTable shows the steps of a call, under the given word, then what is, then what comes.
func planTable(w io.Writer, plans []*pb.Plan, steps []*pb.Step, word string) {
	now := time.Now()
	var rows [][]string
	add := func(cells ...string) { rows = append(rows, cells) }
	for _, s := range steps {
		add(word, cli.Short(s.GetKey()), cli.Enum(s.GetKind(), "KIND_"), "", s.GetReason())
	}
	for _, p := range plans {
		keys := slices.Clone(p.GetKeys())
		slices.Reverse(keys) // oldest first: the order of their lives
		for _, k := range keys {
			why := ""
			if until := k.GetWindow().GetSignUntil(); until != nil && k.GetState() == pb.Key_STATE_ACTIVE {
				why = "may sign until " + cli.Stamp(until, now)
			}
			add("NOW", cli.Short(k.GetName()), cli.Enum(k.GetState(), "STATE_"), since(k, now), why)
		}
		for _, s := range p.GetSteps() {
			add("DUE", cli.Short(s.GetKey()), cli.Enum(s.GetKind(), "KIND_"), dueIn(s, now), s.GetReason())
		}
		if len(p.GetKeys())+len(p.GetSteps()) == 0 {
			add("NOW", cli.Short(p.GetRing()), "no keys", "", "")
		}
	}
	cli.Columns(w, []string{"", "KEY", "STATE OR STEP", "WHEN", "WHY"}, rows)
}

func since(k *pb.Key, now time.Time) string {
	if k.GetStateTime() == nil {
		return ""
	}
	return "for " + cli.Span(max(0, now.Sub(k.GetStateTime().AsTime())).Truncate(time.Second))
}

func dueIn(s *pb.Step, now time.Time) string {
	if in := s.GetDueTime().AsTime().Sub(now).Round(time.Second); in > 0 {
		return "in " + cli.Span(in)
	}
	return "now"
}

func newRotate(a *app) *cobra.Command {
	var req pb.RotateRingRequest
	var accept time.Duration
	c := &cobra.Command{
		Use: "rotate RING", Short: "Begin a ring's rotation now, or complete it",
		Long: `Move a ring on now rather than when it is due. Without a successor one is made and published; the server lets it sign by itself once it
has been published for the ring's propagation time. With a successor that has been published for long enough, it signs from now on.`,
		Example: `  intaglio rotate payments/access
  intaglio rotate payments/access --propagated-for 10m --reason "all verifiers poll every 5 minutes"
  intaglio rotate payments/access --dry-run`,
		Args: takes("RING"),
	}
	c.Flags().DurationVar(&accept, "propagated-for", 0, "accept that the successor has been published for only this long")
	c.Flags().StringVar(&req.Reason, "reason", "", "why; required with --propagated-for")
	c.Flags().BoolVar(&req.ValidateOnly, "dry-run", false, "check only")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if c.Flags().Changed("propagated-for") {
			req.PropagatedFor = durationpb.New(accept)
			return required(c, "reason")
		}
		return nil
	}
	c.RunE = a.online(func(ctx context.Context, cl *client.Client, args []string) error {
		req.Name, req.RequestId = args[0], uuid.NewString()
		res, err := cl.Admin.RotateRing(ctx, &req)
		if err != nil {
			return cli.Refused(err, "cannot rotate "+args[0], args[0])
		}
		a.saidDry(req.ValidateOnly)
		return a.printer().Message(res, []string{cli.Short(res.GetPlan().GetRing())}, func(w io.Writer) {
			word := "DONE"
			if req.ValidateOnly {
				word = "WOULD"
			}
			planTable(w, []*pb.Plan{res.GetPlan()}, res.GetDone(), word)
		})
	})
	return c
}
