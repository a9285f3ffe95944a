//go:build !linux

package devserver

import "syscall"

// boundToUs is nothing where the kernel cannot do it: there a program that dies without cleaning up leaves its server behind.
func boundToUs() *syscall.SysProcAttr { return nil }
