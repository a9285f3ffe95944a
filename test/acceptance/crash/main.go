// Command crash kills the server at random moments while it signs, rotates and revokes, and holds what is left against
// the promises: a signer in every ring, no key without a record, no revoked key back, and an unbroken history.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"time"

	"intaglio.example/test/acceptance/internal/accept"
	"intaglio.example/test/acceptance/internal/devserver"
)

var (
	kills = flag.Int("kills", 10, "how often the server is killed")
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the random moments")
)

// recovery is how long a ring may be without a signer after a restart.
const recovery = 15 * time.Second

func main() {
	flag.Parse()
	accept.Run("crash", fmt.Sprintf("kill -9 under load, %d times", *kills), show)
}

func show(r *accept.Report) error {
	s, cleanup, err := devserver.Fresh(r)
	if err != nil {
		return err
	}
	defer cleanup()
	r.Ran("%d × (load: 8 callers sign, 1 rotates, 1 revokes, 1 retains; kill -9 after 50 ms to 2 s; open the store as the server left it; restart); seed %d", *kills, *seed)

	l := &load{random: rand.New(rand.NewPCG(*seed, 2)), revoked: map[string]string{}}
	if err := l.prepare(s); err != nil {
		return err
	}
	var worst time.Duration
	intact := 0
	for n := range *kills {
		if err := l.runUntilKilled(s); err != nil {
			return fmt.Errorf("kill %d: %w", n+1, err)
		}
		if err := inspect(s.Dir, false); err == nil {
			intact++
		} else {
			r.Note("kill %d: the store as the server left it: %v", n+1, err)
		}
		began := time.Now()
		if err := s.Run(); err != nil {
			return fmt.Errorf("kill %d: %w", n+1, err)
		}
		if err := l.recovered(s); err != nil {
			return fmt.Errorf("kill %d: after the restart: %w", n+1, err)
		}
		worst = max(worst, time.Since(began))
	}
	time.Sleep(3 * time.Second) // what was condemned is destroyed
	if err := s.Stop(); err != nil {
		return err
	}
	settled := inspect(s.Dir, true)
	if settled != nil {
		r.Note("%v", settled)
	}
	r.Note("%d tokens signed, %d rotations, %d revocations confirmed, %d keys retained between the kills", l.signed.Load(), l.rotated.Load(), l.cuts.Load(), l.retained.Load())
	r.AtLeast("kills", float64(*kills), 10, "")
	r.AtLeast("revocations confirmed before a kill", float64(l.cuts.Load()), float64(*kills)/2, "")
	r.AtLeast("rotations confirmed before a kill", float64(l.rotated.Load()), float64(*kills)/2, "")
	r.AtMost("worst time from start to every ring signing", worst.Seconds(), recovery.Seconds(), "s")
	r.Equal("revoked keys that signed, or stood in a key set, after a restart", l.undead, 0)
	r.Equal("kills after which each sealed key had a record, and every MAC, the set hash and the history digest agreed", intact, *kills)
	r.Holds("in the end no sealed key is left of a destroyed record, and none is missing of a live one", settled == nil)
	return nil
}

// recovered waits until every ring signs, and holds what signs and what is published against what was revoked.
func (l *load) recovered(s *devserver.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), recovery+time.Minute)
	defer cancel()
	c, err := dial(s)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for _, ring := range l.rings {
		err := devserver.Eventually(ctx, recovery, func() error {
			kid, err := c.sign(ctx, ring)
			if err == nil {
				l.check("signed in "+ring, kid)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("ring %s does not sign: %w\n%s", ring, err, s.Log())
		}
	}
	published, err := publishedKids(s)
	if err != nil {
		return err
	}
	for _, kid := range published {
		l.check("is published", kid)
	}
	return nil
}
