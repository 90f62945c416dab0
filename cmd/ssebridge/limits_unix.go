//go:build unix

package main

import "syscall"

// openFileLimit returns how many files this process may have open; known is false where the system does not say.
func openFileLimit() (limit uint64, known bool) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, false
	}
	return uint64(r.Cur), true //nolint:unconvert // signed on FreeBSD
}
