package keyring

import "time"

// instant is a moment on three clocks, each in its own count: the wall clock, which people and NTP set; the monotonic
// clock, which stops while the machine sleeps; and the boot clock, which does not.
type instant struct{ wall, monotonic, boot time.Duration }

func (l *Live) instant() instant {
	now := l.now()
	return instant{wall: time.Duration(now.UnixNano()), monotonic: now.Sub(l.born), boot: sinceBoot()}
}

// since is how long ago earlier was, by whichever clock says longest. A wall clock set forward only makes a replica
// stop early; one set back cannot keep it going.
func (i instant) since(earlier instant) time.Duration {
	return max(i.wall-earlier.wall, i.monotonic-earlier.monotonic, i.boot-earlier.boot)
}
