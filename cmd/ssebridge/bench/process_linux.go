package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server on this machine, of which cost is measured.
type process int

// cpu returns the processor time that all threads of the process have used.
func (p process) cpu() (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED, of the clock of a process: clock_getcpuclockid(3)
	var used unix.Timespec
	err := unix.ClockGettime(int32(^p)<<3|scheduled, &used) //nolint:gosec // process ids are small
	if errors.Is(err, unix.EINVAL) {
		err = errors.New("there is no such process")
	}
	if err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", p, err)
	}
	return time.Duration(used.Nano()), nil
}

// memory returns the resident memory of the process, in bytes.
func (p process) memory() (int64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(int(p)) + "/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm has %d fields", p, len(fields))
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// onSameProcessors calls start such that a process that it starts runs on the processors of p only, where the thread
// with which its Go runtime watches over it wakes seldom: a program in C has none.
func (p process) onSameProcessors(start func() error) error {
	var theirs, ours unix.CPUSet
	if err := unix.SchedGetaffinity(int(p), &theirs); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	runtime.LockOSThread() // a process has the processors of the thread that starts it
	defer runtime.UnlockOSThread()
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if err := unix.SchedSetaffinity(0, &theirs); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	defer unix.SchedSetaffinity(0, &ours) //nolint:errcheck // it had them before
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(time.Millisecond), 0, 0, 0)
		defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) //nolint:errcheck // likewise
	}
	return start()
}
