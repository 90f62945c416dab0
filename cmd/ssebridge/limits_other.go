//go:build !unix

package main

// openFileLimit is for systems that have no such limit.
func openFileLimit() (limit uint64, known bool) { return 0, false }
