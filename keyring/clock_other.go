//go:build !linux

package keyring

import "time"

// sinceBoot is not read here: the wall and the monotonic clock remain.
func sinceBoot() time.Duration { return 0 }
