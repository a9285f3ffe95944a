package keyring

import (
	"testing"
	"time"
)

// TestTheLongestClockCounts: each clock alone can end a snapshot, and none can keep it alive.
func TestTheLongestClockCounts(t *testing.T) {
	asked := instant{wall: 1000 * time.Hour, monotonic: time.Hour, boot: 2 * time.Hour}
	for name, c := range map[string]struct {
		now  instant
		want time.Duration
	}{
		"all agree":         {instant{asked.wall + 5, asked.monotonic + 5, asked.boot + 5}, 5},
		"wall set forward":  {instant{asked.wall + time.Hour, asked.monotonic + 5, asked.boot + 5}, time.Hour},
		"wall set back":     {instant{asked.wall - time.Hour, asked.monotonic + 5, asked.boot + 5}, 5},
		"machine slept":     {instant{asked.wall - time.Hour, asked.monotonic + 5, asked.boot + 9}, 9},
		"no boot clock":     {instant{asked.wall + 3, asked.monotonic + 5, asked.boot}, 5},
		"monotonic is late": {instant{asked.wall + 7, asked.monotonic, asked.boot}, 7},
	} {
		if got := c.now.since(asked); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	l := NewLive(nil, nil, nil, nil)
	before := l.instant()
	time.Sleep(2 * time.Millisecond)
	after := l.instant()
	if after.wall <= before.wall || after.monotonic <= before.monotonic || sinceBoot() > 0 && after.boot <= before.boot {
		t.Errorf("a clock stands still: %+v, then %+v", before, after)
	}
}
