package devserver

import "syscall"

// boundToUs has the kernel kill the server when the program that started it dies without cleaning up: killed itself, or in
// a panic.
func boundToUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
