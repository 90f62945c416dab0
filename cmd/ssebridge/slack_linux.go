package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how late a thread may wake from a sleep, so that the kernel can wake it together with others. Go's own
// timers are no more exact on an idle process.
const timerSlack = time.Millisecond

// relaxed is in the environment of a process that relaxTimers has executed.
const relaxed = "SSEBRIDGE_TIMERS_RELAXED"

// relaxTimers lets the threads of a process with one core sleep longer. The runtime has a thread that watches over the
// others and sleeps 20 µs at a time for as long as there is work after a pause. On a core of its own it disturbs nobody; on
// the only one it takes 15 % of the time in which 1,000 readers are written to. It also gives the core to others while a
// system call blocks, which comes up to a millisecond or two later then: not for a log that syncs every event.
//
// A thread's slack is that of the thread which made it, and the runtime makes this one before main: the process sets
// its own slack, which lasts, and executes itself. Where that is not possible all goes on as it is.
func relaxTimers() {
	if _, again := os.LookupEnv(relaxed); again {
		_ = os.Unsetenv(relaxed)
		return
	}
	if runtime.GOMAXPROCS(0) > 1 {
		return
	}
	runtime.LockOSThread() // both calls are about the thread
	defer runtime.UnlockOSThread()
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || slack >= int(timerSlack) {
		return
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0); err != nil {
		return
	}
	if path, err := os.Executable(); err == nil {
		_ = syscall.Exec(path, os.Args, append(os.Environ(), relaxed+"=1")) //nolint:gosec // itself
	}
}
