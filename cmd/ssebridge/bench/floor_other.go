//go:build !linux

package bench

import (
	"context"
	"errors"
	"io"
)

// errNoFloor says that the floor is a program for Linux.
var errNoFloor = errors.New("--floor is for Linux")

func runFloor(context.Context, *Config, int) (*Measurement, error) { return nil, errNoFloor }

// RunFloor is for Linux.
func RunFloor(io.Reader, io.Writer) error { return errNoFloor }
