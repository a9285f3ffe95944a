package main

import (
	"context"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
)

func newIssuer(a *app) *cobra.Command {
	var url string
	var dry bool
	list := &cobra.Command{
		Use: "list", Short: "List issuers", Example: "  intaglio issuer list\n  intaglio issuer list -o name", Args: takes(),
		RunE: a.online(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := listIssuers(ctx, c)
			if err != nil {
				return cli.Refused(err, "cannot list issuers", "")
			}
			return a.printer().Message(all, names(all.GetIssuers()), func(w io.Writer) { issuerTable(w, all.GetIssuers()) })
		}),
	}
	get := &cobra.Command{
		Use: "get ISSUER", Short: "Show an issuer", Example: "  intaglio issuer get payments", Args: takes("ISSUER"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			i, err := c.Admin.GetIssuer(ctx, &pb.GetIssuerRequest{Name: args[0]})
			if err != nil {
				return cli.Refused(err, "cannot read issuer "+args[0], args[0])
			}
			return a.printIssuer(i)
		}),
	}
	create := &cobra.Command{
		Use: "create ISSUER --url URL", Short: "Make an issuer",
		Long:    "Make an issuer. Its URL is the iss of its tokens, byte for byte, and never changes.",
		Example: "  intaglio issuer create payments --url https://payments.example\n  intaglio issuer create payments --url https://payments.example --dry-run",
		Args:    takes("ISSUER"),
	}
	create.Flags().StringVar(&url, "url", "", "the iss claim: https, without query or fragment")
	create.Flags().BoolVar(&dry, "dry-run", false, "check only")
	create.PreRunE = func(c *cobra.Command, _ []string) error { return required(c, "url") }
	create.RunE = a.online(func(ctx context.Context, c *client.Client, args []string) error {
		i, err := c.Admin.CreateIssuer(ctx, &pb.CreateIssuerRequest{
			IssuerId: cli.Short(args[0]), Issuer: &pb.Issuer{Uri: url}, RequestId: uuid.NewString(), ValidateOnly: dry,
		})
		if err != nil {
			return cli.Refused(err, "cannot create issuer "+args[0], args[0])
		}
		a.saidDry(dry)
		return a.printIssuer(i)
	})
	return family("issuer", "Token authorities: list, get, create", list, get, create)
}

// saidDry reminds a person that nothing was done.
func (a *app) saidDry(dry bool) {
	if dry {
		a.warn("Checked only: nothing was changed.")
	}
}

// named is every resource of the API.
type named interface{ GetName() string }

// names returns the short names of a list.
func names[T named](list []T) []string {
	all := make([]string, len(list))
	for i, n := range list {
		all[i] = cli.Short(n.GetName())
	}
	return all
}

func listIssuers(ctx context.Context, c *client.Client) (*pb.ListIssuersResponse, error) {
	all := &pb.ListIssuersResponse{}
	err := pages(func(token string) (string, error) {
		page, err := c.Admin.ListIssuers(ctx, &pb.ListIssuersRequest{PageSize: pageSize, PageToken: token})
		all.Issuers = append(all.Issuers, page.GetIssuers()...)
		return page.GetNextPageToken(), err
	})
	return all, err
}

func (a *app) printIssuer(i *pb.Issuer) error {
	return a.printer().Message(i, []string{cli.Short(i.GetName())}, func(w io.Writer) { issuerTable(w, []*pb.Issuer{i}) })
}

func issuerTable(w io.Writer, issuers []*pb.Issuer) {
	var rows [][]string
	for _, i := range issuers {
		rows = append(rows, []string{cli.Short(i.GetName()), i.GetUri(), cli.Stamp(i.GetCreateTime(), time.Now())})
	}
	cli.Columns(w, []string{"ISSUER", "URL", "CREATED"}, rows)
}
