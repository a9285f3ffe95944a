package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
)

func newRing(a *app) *cobra.Command {
	list := &cobra.Command{
		Use: "list [ISSUER]", Short: "List the rings of an issuer, or all", Example: "  intaglio ring list\n  intaglio ring list payments -o name",
		Args: cobra.MaximumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			parent := "issuers/-"
			if len(args) == 1 {
				parent = args[0]
			}
			all, err := listRings(ctx, c, parent)
			if err != nil {
				return cli.Refused(err, "cannot list rings of "+cli.Short(parent), cli.Short(parent))
			}
			return a.printer().Message(all, names(all.GetRings()), func(w io.Writer) { ringTable(w, all.GetRings()) })
		}),
	}
	get := &cobra.Command{
		Use: "get RING", Short: "Show a ring", Example: "  intaglio ring get payments/access", Args: takes("RING"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := c.Admin.GetRing(ctx, &pb.GetRingRequest{Name: args[0]})
			if err != nil {
				return cli.Refused(err, "cannot read ring "+args[0], args[0])
			}
			return a.printRing(r)
		}),
	}
	return family("ring", "Lines of keys: list, get, create, update", list, get, newRingCreate(a), newRingUpdate(a))
}

func newRingCreate(a *app) *cobra.Command {
	var s ringSettings
	var dry bool
	c := &cobra.Command{
		Use: "create ISSUER/RING --audience AUD", Short: "Make a ring; its first key follows at once",
		Example: `  intaglio ring create payments/access --audience https://api.example
  intaglio ring create payments/id --typ JWT --any-audience --algorithm RS256 --backend software
  intaglio ring create payments/access --audience https://api.example --max-ttl 15m --lifetime 168h --propagation 1h`,
		Args: takes("ISSUER/RING"),
	}
	s.flags(c)
	s.originFlags(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "check only")
	c.RunE = a.online(func(ctx context.Context, cl *client.Client, args []string) error {
		issuer, id, ok := strings.Cut(cli.Short(args[0]), "/")
		if !ok {
			return cli.Misused(fmt.Sprintf("%q is not of the form ISSUER/RING", args[0]), "For example:  intaglio ring create payments/access --audience https://api.example")
		}
		ring, err := s.ring()
		if err != nil {
			return err
		}
		made, err := cl.Admin.CreateRing(ctx, &pb.CreateRingRequest{
			Parent: issuer, RingId: id, Ring: ring, RequestId: uuid.NewString(), ValidateOnly: dry,
		})
		if err != nil {
			return cli.Refused(err, "cannot create ring "+args[0], args[0])
		}
		a.saidDry(dry)
		return a.printRing(made)
	})
	return c
}

func newRingUpdate(a *app) *cobra.Command {
	var s ringSettings
	var dry bool
	c := &cobra.Command{
		Use: "update RING", Short: "Change a ring's settings",
		Long: `Change a ring's settings; what no flag names stays. Those that belong to a key (algorithm, backend, protection, audiences, longest
TTL) take effect with the next one:  intaglio rotate RING`,
		Example: `  intaglio ring update payments/access --backend software-b
  intaglio ring update payments/access --audience https://api.example --audience https://ledger.example`,
		Args: takes("RING"),
	}
	s.flags(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "check only")
	c.RunE = a.online(func(ctx context.Context, cl *client.Client, args []string) error {
		now, err := cl.Admin.GetRing(ctx, &pb.GetRingRequest{Name: args[0]})
		if err != nil {
			return cli.Refused(err, "cannot read ring "+args[0], args[0])
		}
		ring, err := s.ring()
		if err != nil {
			return err
		}
		mask := s.mask()
		if len(mask) == 0 {
			return cli.Misused("no setting was given to change", "See what can be:  %s --help", c.CommandPath())
		}
		ring.Name, ring.Etag = now.GetName(), now.GetEtag()
		s.keepRest(ring, now)
		changed, err := cl.Admin.UpdateRing(ctx, &pb.UpdateRingRequest{Ring: ring, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}, ValidateOnly: dry})
		if err != nil {
			return cli.Refused(err, "cannot update ring "+args[0], args[0])
		}
		a.saidDry(dry)
		return a.printRing(changed)
	})
	return c
}

func listRings(ctx context.Context, c *client.Client, parent string) (*pb.ListRingsResponse, error) {
	all := &pb.ListRingsResponse{}
	err := pages(func(token string) (string, error) {
		page, err := c.Admin.ListRings(ctx, &pb.ListRingsRequest{Parent: parent, PageSize: pageSize, PageToken: token})
		all.Rings = append(all.Rings, page.GetRings()...)
		return page.GetNextPageToken(), err
	})
	return all, err
}

func ringTable(w io.Writer, rings []*pb.Ring) {
	now := time.Now()
	var rows [][]string
	for _, r := range rings {
		rows = append(rows, []string{cli.Short(r.GetName()), cli.Enum(r.GetState(), "STATE_"), cli.Short(r.GetSigner()), r.GetAlgorithm(),
			r.GetBackend(), audienceText(r.GetAudiences()), cli.Stamp(r.GetNextRotationTime(), now)})
	}
	cli.Columns(w, []string{"RING", "STATE", "SIGNER", "ALGORITHM", "BACKEND", "AUDIENCES", "NEXT ROTATION"}, rows)
}

func (a *app) printRing(r *pb.Ring) error {
	return a.printer().Message(r, []string{cli.Short(r.GetName())}, func(w io.Writer) {
		now := time.Now()
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(r.GetLabels())) {
			labels = append(labels, k+"="+r.GetLabels()[k])
		}
		cli.Facts(w, "ring", cli.Short(r.GetName()), "state", cli.Enum(r.GetState(), "STATE_"), "signer", cli.Short(r.GetSigner()),
			"next rotation", cli.Stamp(r.GetNextRotationTime(), now),
			"usage", cli.Enum(r.GetUsage(), "USAGE_"), "typ", r.GetTyp(), "audiences", audienceText(r.GetAudiences()),
			"TTL", cli.Duration(r.GetDefaultTtl())+", at most "+cli.Duration(r.GetMaxTtl()),
			"next key", fmt.Sprintf("%s in %s, protection at least %s", r.GetAlgorithm(), r.GetBackend(), cli.Enum(r.GetMinProtection(), "PROTECTION_")),
			"rotation", fmt.Sprintf("keys sign for %s, published %s before; clocks differ by up to %s", cli.Duration(r.GetRotation().GetLifetime()),
				cli.Duration(r.GetRotation().GetPropagation()), cli.Duration(r.GetRotation().GetSkew())),
			"labels", strings.Join(labels, " "), "created", cli.Stamp(r.GetCreateTime(), now))
	})
}

// audienceText marks prefixes with a star, which no exact audience can be mistaken for here.
func audienceText(a *pb.Audiences) string {
	if a.GetAny() {
		return "ANY"
	}
	all := slices.Clone(a.GetExact())
	for _, p := range a.GetPrefixes() {
		all = append(all, p+"*")
	}
	return strings.Join(all, ", ")
}
