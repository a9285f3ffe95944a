package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/cmd/intaglio/internal/tokencheck"
	"intaglio.example/internal/jws"
)

// clockSkew is by how much the signer's clock may differ from ours.
const clockSkew = 60 * time.Second

type verifyOptions struct {
	issuer, audience string
	explain          bool
}

func newVerify(a *app) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify [TOKEN]",
		Short: "Decide whether a token is to be accepted, and say why not",
		Long: `Hold a token against everything its issuer's key set says: the key is listed and not revoked, alg, typ and signature are the
key's, iss is exact, it was issued while its key could sign and does not live too long, and it is meant for someone the key may sign for.
Clocks may differ by a minute. Exit status 1 when the token is refused.`,
		Example: `  intaglio verify < token.jwt
  intaglio verify --audience https://api.demo.test --explain < token.jwt
  intaglio sign demo/access --claims claims.json | intaglio verify -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			return a.verify(ctx, c, args, o)
		}),
	}
	c.Flags().StringVar(&o.issuer, "issuer", "", "`NAME` of the issuer (default the one whose URL is the token's iss, then the context's)")
	c.Flags().StringVar(&o.audience, "audience", "", "who you are: the token must be meant for this `AUD`")
	c.Flags().BoolVar(&o.explain, "explain", false, "also say what a check of the signature alone would have said")
	return c
}

func (a *app) verify(ctx context.Context, c *client.Client, args []string, o verifyOptions) error {
	token, err := a.readToken(args)
	if err != nil {
		return err
	}
	issuer, err := a.issuerOf(ctx, c, token, o)
	if err != nil {
		return err
	}
	set, err := c.KeySets.GetKeySet(ctx, &pb.GetKeySetRequest{Issuer: issuer})
	if err != nil {
		return cli.Refused(err, "cannot read the key set of "+cli.Short(issuer), cli.Short(issuer))
	}
	now := time.Now()
	v, err := tokencheck.Check(token, set, tokencheck.Policy{Now: now, Skew: clockSkew, Audience: o.audience})
	if refused := (*tokencheck.Refused)(nil); errors.As(err, &refused) {
		return a.refuse(refused, keyName(ctx, c, set, refused.Kid), o.explain)
	}
	if err != nil {
		return err
	}
	for _, w := range v.Warnings {
		a.warn("warning: %s", w)
	}
	return a.accept(v, keyName(ctx, c, set, v.Key.GetKid()), set, now, o.explain)
}

func (a *app) readToken(args []string) (string, error) {
	if len(args) == 1 {
		return strings.TrimSpace(args[0]), nil
	}
	text, err := a.readInput("", "a token")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// issuerOf finds out whose key set to ask for. What the token says of itself is a hint: the key set's own iss decides.
func (a *app) issuerOf(ctx context.Context, c *client.Client, token string, o verifyOptions) (string, error) {
	if o.issuer != "" {
		return o.issuer, nil
	}
	iss := ""
	if _, err := jws.Parse(token, 0); err != nil {
		return "", a.refuse(&tokencheck.Refused{Reason: tokencheck.Malformed, Why: err.Error(), SignatureOnly: "nothing: it would not get as far as the signature"}, "", o.explain)
	}
	if form, err := jws.ParseCompact(token, 0); err == nil {
		if claims, err := jws.ParseClaims(form.Payload, 0); err == nil {
			for _, m := range claims {
				if m.Name == "iss" {
					iss, _ = m.Text() // ParseClaims saw that it is one
				}
			}
		}
	}
	issuers, err := listIssuers(ctx, c)
	for _, i := range issuers.GetIssuers() {
		if i.GetUri() == iss {
			return i.GetName(), nil
		}
	}
	if c.Context.Issuer != "" {
		return c.Context.Issuer, nil
	}
	if err != nil {
		return "", cli.Refused(err, "cannot look up the issuer "+iss, "")
	}
	return "", a.refuse(&tokencheck.Refused{Reason: tokencheck.IssuerWrong, Why: fmt.Sprintf("no issuer of this server has the iss %q", iss),
		SignatureOnly: "nothing: it has no key to try"}, "", o.explain)
}

// fewRings bounds the search for the name of a revoked key, whose ring the key set does not tell.
const fewRings = 20

// keyName finds the name people know a key by; its kid when we may not look, or it is hard to find. It is for show only.
func keyName(ctx context.Context, c *client.Client, set *pb.KeySet, kid string) string {
	var rings []string
	for _, k := range set.GetKeys() {
		if k.GetKid() == kid {
			rings = []string{k.GetRing()}
		}
	}
	if rings == nil {
		res, err := c.Admin.ListRings(ctx, &pb.ListRingsRequest{Parent: set.GetIssuer(), PageSize: fewRings})
		if err != nil {
			return kid
		}
		for _, r := range res.GetRings() {
			rings = append(rings, r.GetName())
		}
	}
	for _, ring := range rings {
		res, err := c.Admin.ListKeys(ctx, &pb.ListKeysRequest{Parent: ring, PageSize: pageSize})
		if err != nil {
			return kid
		}
		for _, k := range res.GetKeys() {
			if k.GetKid() == kid && kid != "" {
				return cli.Short(k.GetName())
			}
		}
	}
	return kid
}

// verdict is the result for machines.
type verdict struct {
	Valid         bool            `json:"valid"`
	Reason        string          `json:"reason,omitempty"`
	Why           string          `json:"why,omitempty"`
	Key           string          `json:"key,omitempty"`
	Kid           string          `json:"kid,omitempty"`
	Ring          string          `json:"ring,omitempty"`
	Algorithm     string          `json:"algorithm,omitempty"`
	Typ           string          `json:"typ,omitempty"`
	IssueTime     *time.Time      `json:"issueTime,omitempty"`
	ExpireTime    *time.Time      `json:"expireTime,omitempty"`
	Claims        json.RawMessage `json:"claims,omitempty"`
	Warnings      []string        `json:"warnings,omitempty"`
	SignatureOnly string          `json:"signatureOnly,omitempty"`
}

func (a *app) accept(v *tokencheck.Verdict, name string, set *pb.KeySet, now time.Time, explain bool) error {
	result := verdict{
		Valid: true, Key: name, Kid: v.Key.GetKid(), Ring: v.Key.GetRing(), Algorithm: v.Alg, Typ: v.Typ,
		IssueTime: &v.IssuedAt, ExpireTime: &v.Expires, Claims: v.Payload, Warnings: v.Warnings,
	}
	return a.printer().Value(result, []string{name}, func(w io.Writer) {
		fmt.Fprintf(w, "valid    %s   %s   %s   expires in %s\n", cli.Clean(name), v.Alg, cli.Clean(v.Typ), cli.Span(v.Expires.Sub(now).Truncate(time.Second)))
		fmt.Fprintf(w, "  %s\n", cli.Clean(claimsLine(v.Claims)))
		if !explain {
			return
		}
		window := v.Key.GetWindow()
		fmt.Fprintf(w, "  key window %s .. %s, revision %s, key set read %s ago\n", cli.Stamp(window.GetNotBefore(), now),
			cli.Stamp(window.GetSignUntil(), now), cli.Number(set.GetRevision()), cli.Span(max(0, now.Sub(set.GetReadTime().AsTime()))))
		fmt.Fprintf(w, "  the signature alone: valid too, but it says nothing of issuer, audience, times, or whether the key was revoked\n")
	})
}

// claimsLine shows the claims people look for first, then the caller's own, then nothing of what was said above.
func claimsLine(claims []jws.Member) string {
	var first, rest []string
	for _, name := range []string{"iss", "sub", "aud", "jti"} {
		for _, m := range claims {
			if m.Name == name {
				first = append(first, name+" "+claimText(m))
			}
		}
	}
	for _, m := range claims {
		switch m.Name {
		case "iss", "sub", "aud", "jti", "iat", "exp":
		default:
			rest = append(rest, m.Name+" "+claimText(m))
		}
	}
	return strings.Join(append(first, rest...), "   ")
}

// claimText is a string without its quotes, and anything else as it stands in the token.
func claimText(m jws.Member) string {
	if text, err := m.Text(); err == nil {
		return text
	}
	return string(m.Raw)
}

// meaning says what a refusal means and what to do about it.
var meaning = map[tokencheck.Reason]struct{ why, next string }{
	tokencheck.Malformed:        {"What is not exactly one well-formed token is not read further: two readers could understand it differently.", "Pass header.payload.signature as it was issued, and nothing around it."},
	tokencheck.KeySetStale:      {"An old key set may still list keys that were revoked since.", "Repeat the command; if it lasts, compare this machine's clock with the server's."},
	tokencheck.KeyRevoked:       {"Its signature may be as good as ever: what counts is that its key was revoked, for good.", "Get a new token:  intaglio sign RING"},
	tokencheck.KeyUnknown:       {"The key was never this issuer's, or was taken out after its last token had expired.", "See the keys there are:  intaglio key list RING"},
	tokencheck.KeyUnusable:      {"A key set that does not say what a key is for cannot vouch for it.", "Ask the people who run the server; its log says more."},
	tokencheck.HeaderWrong:      {"One key has one algorithm and one type of token; a token that says otherwise was not made for this.", "Get a token from the ring you mean:  intaglio ring list"},
	tokencheck.SignatureWrong:   {"It was changed after it was signed, or was never signed by this key.", "Get a new token:  intaglio sign RING"},
	tokencheck.IssuerWrong:      {"Every issuer is trusted for its own tokens only, to the byte.", "Name the issuer you mean:  intaglio verify --issuer NAME    or see:  intaglio issuer list"},
	tokencheck.ClaimMissing:     {"Every token of this service has iss, aud, iat and exp.", "Get a new token:  intaglio sign RING"},
	tokencheck.Expired:          {"A minute of grace for clocks has passed as well.", "Get a new token:  intaglio sign RING"},
	tokencheck.NotYetValid:      {"More than a minute lies between it and this machine's clock.", "Wait, or compare this machine's clock with the server's."},
	tokencheck.OutsideWindow:    {"Nothing signs outside its key's window, so this was not signed when it says.", "Treat the key as stolen until you know better:  intaglio revoke key --help"},
	tokencheck.LivesTooLong:     {"The service would not have signed it.", "Treat the key as stolen until you know better:  intaglio revoke key --help"},
	tokencheck.AudienceWrong:    {"It is good, but not for you: whoever accepts it lets a token for another service in.", "Ask for a token with your audience, or check --audience."},
	tokencheck.AudienceOutScope: {"The service would not have signed it.", "Treat the key as stolen until you know better:  intaglio revoke key --help"},
}

func (a *app) refuse(r *tokencheck.Refused, name string, explain bool) error {
	why := r.Why
	if r.Kid != "" && name != "" {
		why = strings.ReplaceAll(why, r.Kid, name)
	}
	m := meaning[r.Reason]
	f := &cli.Failure{What: "refused: " + why, Reason: string(r.Reason), Why: m.why, Next: m.next, Code: cli.Failed, Cause: r, Verdict: true}
	result := verdict{Reason: string(r.Reason), Why: why, Key: name, Kid: r.Kid}
	if explain {
		result.SignatureOnly = r.SignatureOnly
	}
	err := a.printer().Value(result, nil, func(w io.Writer) {
		if explain {
			fmt.Fprintf(w, "the signature alone: %s\n", cli.Clean(r.SignatureOnly))
		}
	})
	return errors.Join(f, err)
}
