// Command measure measures ssebridge on this machine, and writes what it finds into the README with command, machine, date
// and commit. "make bench" runs it; "go run ./cmd/measure -quick" tries all of it in a minute and leaves the README alone.
//
// A rig (rig.go, server.go) builds the program, serves a bridge with an empty log on processors of its own, and lets
// "ssebridge bench" measure it from others. There are three parts: the rows of a table beside their floors (rows.go,
// table.go, floor.go), CPU time by stage from a profile of the serving bridge (stages.go, profile.go), and cost
// as the work grows (growth.go), which is drawn (chart.go, scale.go). Each part remembers the machine (machine.go) and is
// kept beside this file in results.json (results.go), so that a later run can be compared and one part be measured alone;
// document.go makes the README's section of all three.
package main
