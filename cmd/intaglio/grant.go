package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
)

func newGrant(a *app) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List grants", Example: "  intaglio grant list", Args: takes(),
		RunE: a.online(func(ctx context.Context, c *client.Client, _ []string) error {
			all := &pb.ListGrantsResponse{}
			err := pages(func(token string) (string, error) {
				page, err := c.Admin.ListGrants(ctx, &pb.ListGrantsRequest{PageSize: pageSize, PageToken: token})
				all.Grants = append(all.Grants, page.GetGrants()...)
				return page.GetNextPageToken(), err
			})
			if err != nil {
				return cli.Refused(err, "cannot list grants", "")
			}
			return a.printer().Message(all, names(all.GetGrants()), func(w io.Writer) { grantTable(w, all.GetGrants()) })
		}),
	}
	return family("grant", "Who may do what, where: list, create, delete", list, newGrantCreate(a), newGrantDelete(a))
}

func newGrantCreate(a *app) *cobra.Command {
	var principal string
	var verbs, rings []string
	var dry bool
	create := &cobra.Command{
		Use: "create GRANT --principal WHO --verbs VERBS --rings RINGS", Short: "Let somebody do something",
		Long: `Let a principal do some things to some rings. The principal is the exact URI SAN of a client certificate, or dns: and its exact DNS
SAN. Verbs: ` + strings.Join(verbNames(), ", ") + `. Rings: payments/access, payments/* or *.`,
		Example: `  intaglio grant create web --principal spiffe://example.org/ns/web/sa/login --verbs sign --rings payments/access
  intaglio grant create oncall --principal spiffe://example.org/user/ana --verbs operate,respond --rings '*'`,
		Args: takes("GRANT"),
	}
	create.Flags().StringVar(&principal, "principal", "", "who: a URI SAN, or dns:host")
	create.Flags().StringSliceVar(&verbs, "verbs", nil, "what, comma-separated")
	create.Flags().StringSliceVar(&rings, "rings", nil, "on which rings, comma-separated")
	create.Flags().BoolVar(&dry, "dry-run", false, "check only")
	create.PreRunE = func(c *cobra.Command, _ []string) error { return required(c, "principal", "verbs", "rings") }
	create.RunE = a.online(func(ctx context.Context, c *client.Client, args []string) error {
		numbers, err := parseVerbs(verbs)
		if err != nil {
			return err
		}
		g, err := c.Admin.CreateGrant(ctx, &pb.CreateGrantRequest{
			GrantId: cli.Short(args[0]), Grant: &pb.Grant{Principal: principal, Verbs: numbers, Rings: rings},
			RequestId: uuid.NewString(), ValidateOnly: dry,
		})
		if err != nil {
			return cli.Refused(err, "cannot create grant "+args[0], args[0])
		}
		a.saidDry(dry)
		return a.printer().Message(g, []string{cli.Short(g.GetName())}, func(w io.Writer) { grantTable(w, []*pb.Grant{g}) })
	})
	return create
}

func newGrantDelete(a *app) *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "delete GRANT", Short: "Take a grant away", Example: "  intaglio grant delete web", Args: takes("GRANT"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			if _, err := c.Admin.DeleteGrant(ctx, &pb.DeleteGrantRequest{Name: args[0], ValidateOnly: dry}); err != nil {
				return cli.Refused(err, "cannot delete grant "+args[0], args[0])
			}
			a.saidDry(dry)
			if !dry {
				a.warn("Grant %s is gone; its name is never given out again.", cli.Short(args[0]))
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "check only")
	return c
}

// verbNames lists what a grant can allow, in the order of the API.
func verbNames() []string {
	var all []string
	for _, n := range enumNumbers(pb.Grant_Verb_name) {
		all = append(all, cli.Enum(pb.Grant_Verb(n), "VERB_"))
	}
	return all
}

// enumNumbers lists the numbers of an enum, in order and without the invalid zero.
func enumNumbers(names map[int32]string) []int32 {
	var all []int32
	for n := range names {
		if n != 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

func parseVerbs(words []string) ([]pb.Grant_Verb, error) {
	var all []pb.Grant_Verb
	for _, w := range words {
		n, ok := pb.Grant_Verb_value["VERB_"+strings.ToUpper(w)]
		if !ok || n == 0 {
			return nil, cli.Misused(fmt.Sprintf("--verbs: there is no verb %q", w), "Choose among:  %s", strings.Join(verbNames(), ", "))
		}
		all = append(all, pb.Grant_Verb(n))
	}
	return all, nil
}

func grantTable(w io.Writer, grants []*pb.Grant) {
	var rows [][]string
	for _, g := range grants {
		var verbs []string
		for _, v := range g.GetVerbs() {
			verbs = append(verbs, cli.Enum(v, "VERB_"))
		}
		rows = append(rows, []string{cli.Short(g.GetName()), g.GetPrincipal(), strings.Join(verbs, ","),
			strings.Join(g.GetRings(), ","), cli.Stamp(g.GetCreateTime(), time.Now())})
	}
	cli.Columns(w, []string{"GRANT", "PRINCIPAL", "VERBS", "RINGS", "CREATED"}, rows)
}
