//go:build !linux

package bench

import (
	"errors"
	"time"
)

// process is for Linux: elsewhere the cost of a server is not measured.
type process int

var errNoProcess = errors.New("--pid is for Linux")

func (process) cpu() (time.Duration, error)         { return 0, errNoProcess }
func (process) memory() (int64, error)              { return 0, errNoProcess }
func (process) onSameProcessors(func() error) error { return errNoProcess }
