package keyring

import "time"

// instant is a moment on three clocks: Go's time.Time holds the wall and the monotonic clock, which stops while the machine
// sleeps; the boot clock does not.
type instant struct {
	at   time.Time
	boot time.Duration
}

func (l *Live) instant() instant { return instant{at: l.now(), boot: sinceBoot()} }

// since is how long ago earlier was, by whichever clock says longest. A wall clock set forward only makes a replica
// stop early; one set back cannot keep it going.
func (i instant) since(earlier instant) time.Duration {
	return max(i.at.Sub(earlier.at), i.at.Round(0).Sub(earlier.at.Round(0)), i.boot-earlier.boot)
}
