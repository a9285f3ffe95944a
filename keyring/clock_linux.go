package keyring

import (
	"syscall"
	"time"
	"unsafe"
)

// sinceBoot reads CLOCK_BOOTTIME, which goes on counting while the machine is suspended.
func sinceBoot() time.Duration {
	const clockBoottime = 7 // linux/time.h
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0 // a kernel without it leaves the wall and the monotonic clock
	}
	return time.Duration(ts.Nano())
}
