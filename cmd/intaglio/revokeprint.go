package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
)

// printImpact is the dry run: what would fall, what cannot be reached, and the exact command that does it.
func (a *app) printImpact(i *pb.Impact, command string) error {
	code := cli.ConfirmCode(i.GetKeys(), i.GetDigest())
	return a.printer().Message(i, []string{code}, func(w io.Writer) {
		now := time.Now()
		fmt.Fprintf(w, "DRY RUN at revision %s, %s. Nothing has been changed.\n\n", cli.Number(i.GetRevision()), cli.Time(now, now))
		if i.GetKeys() == 0 {
			fmt.Fprintf(w, "Nothing would fall: there is no key in reach that is not revoked already.\n\n")
		} else {
			impactFacts(w, i, now)
		}
		if len(i.GetOutOfReach()) > 0 {
			fmt.Fprintln(w, "WHAT THIS CANNOT REACH")
			for _, sentence := range i.GetOutOfReach() {
				fmt.Fprintf(w, "  %s\n", cli.Clean(sentence))
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "To do it:\n  %s --confirm %s\n", command, code)
	})
}

func impactFacts(w io.Writer, i *pb.Impact, now time.Time) {
	issuers := perIssuer(i.GetWorst())
	reissued := ""
	if n := len(i.GetWorst()); n > 0 {
		reissued = cli.Count(int64(n), "ring") + " would lose the signer and get a new one"
		if estimate := i.GetReissueEstimate(); estimate != nil {
			reissued += ", in about " + cli.Duration(estimate)
		}
	} else {
		reissued = "no ring would lose its signer"
	}
	die := "those that live now"
	if last := i.GetLastTokenExpireTime(); last != nil {
		die += ". The longest would have lived until " + cli.Stamp(last, now)
	}
	cli.Facts(w, "REVOKED", cli.Count(i.GetKeys(), "key")+" in "+cli.Count(i.GetRings(), "ring"),
		"TOKENS DIE", die, "REISSUED", reissued)
	fmt.Fprintln(w)
	if len(issuers) > 0 {
		cli.Columns(w, []string{"ISSUER", "RINGS WITHOUT SIGNER", "KEYS", "REISSUED IN", "LAST TOKEN"}, issuers)
		fmt.Fprintln(w)
	}
	for _, ring := range i.GetWorst() {
		if s := ring.GetNoSuccessor(); s != nil {
			fmt.Fprintf(w, "NO SUCCESSOR  %s: %s\n", cli.Short(ring.GetRing()), cli.Clean(s.GetMessage()))
		}
	}
}

// perIssuer sums up the rings that would lose their signer.
func perIssuer(worst []*pb.RingImpact) [][]string {
	type sum struct {
		rings, keys int64
		backends    map[string]bool
		last        time.Time
	}
	sums := map[string]*sum{}
	for _, r := range worst {
		issuer, _, _ := strings.Cut(cli.Short(r.GetRing()), "/")
		s := sums[issuer]
		if s == nil {
			s = &sum{backends: map[string]bool{}}
			sums[issuer] = s
		}
		s.rings++
		s.keys += r.GetKeys()
		s.backends[r.GetBackend()] = true
		if last := r.GetLastTokenExpireTime(); last != nil && last.AsTime().After(s.last) {
			s.last = last.AsTime()
		}
	}
	var rows [][]string
	for _, issuer := range slices.Sorted(maps.Keys(sums)) {
		s := sums[issuer]
		rows = append(rows, []string{issuer, cli.Number(s.rings), cli.Number(s.keys),
			strings.Join(slices.Sorted(maps.Keys(s.backends)), ", "), cli.Time(s.last, time.Now())})
	}
	return rows
}

// printOperation is the report of a revocation that was carried out, and of what is left.
func (a *app) printOperation(op *pb.Operation, w *watch, left []string, took time.Duration) error {
	now := time.Now()
	err := a.printer().Message(op, []string{cli.Short(op.GetName())}, func(out io.Writer) {
		signing := "no ring lost its signer"
		switch {
		case w.blind != nil:
			signing = "unknown: you may not look at the rings"
		case len(left) > 0:
			signing = fmt.Sprintf("%s of %s still without a signer", cli.Number(int64(len(left))), cli.Count(int64(len(w.before)), "ring"))
		case len(w.before) > 0:
			signing = cli.Count(int64(len(w.before)), "ring") + " signing again, " + cli.Span(took.Round(10*time.Millisecond)) + " after the order"
		}
		cli.Facts(out, "REVOKED", fmt.Sprintf("%s in %s by one cut at %s, revision %s", cli.Count(op.GetKeys(), "key"), cli.Count(op.GetRings(), "ring"),
			cli.Stamp(op.GetCutTime(), now), cli.Number(op.GetCutRevision())), "SIGNING", signing, "OPERATION", cli.Short(op.GetName()))
		for _, e := range op.GetErrors() {
			fmt.Fprintf(out, "LEFT     %s\n", cli.Clean(e.GetMessage()))
		}
	})
	if err != nil {
		return err
	}
	return leftover(op, w, left)
}

// leftover is exit status 7: revoked, but not all is well again.
func leftover(op *pb.Operation, w *watch, left []string) error {
	f := &cli.Failure{Code: cli.Left, Verdict: true, Reason: "SOMETHING_LEFT"}
	switch {
	case len(left) > 0:
		slices.Sort(left)
		shown := names(ringsNamed(left[:min(3, len(left))]))
		f.What = fmt.Sprintf("revoked, but %s cannot sign yet: %s", cli.Count(int64(len(left)), "ring"), strings.Join(shown, ", "))
		f.Why, f.Next = "the server goes on making keys by itself", "See what keeps it:  intaglio plan "+shown[0]
	case w.blind != nil:
		f.What, f.Why = "revoked, but it is unknown whether every ring signs again", w.blind.Error()
		f.Next = "Ask somebody who may look:  intaglio ring list"
	case len(op.GetErrors()) > 0 || op.GetState() == pb.Operation_STATE_DONE_WITH_ERRORS:
		f.What, f.Why = "revoked, but something is left to do", "see LEFT above"
		f.Next = "The server goes on by itself; look again:  intaglio plan"
	default:
		return nil
	}
	return f
}

func ringsNamed(names []string) []*pb.Ring {
	rings := make([]*pb.Ring, len(names))
	for i, n := range names {
		rings[i] = &pb.Ring{Name: n}
	}
	return rings
}
