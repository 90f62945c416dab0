// Package config reads the configuration file of the bridge: one YAML document in which every key has a default,
// unknown keys are refused, and every mistake is reported at once, with its place in the file and how to mend it.
//
// Begin with [Config] in config.go, which says what can be set. [Load] reads the file with go-yaml into a syntax tree
// (parse.go), fills a Config from it (decode.go, value.go), applies what flags and the environment say, and checks the
// whole (check.go and its neighbours). The place of each value is kept, so that a package that finds fault with a value
// later, such as a rule that does not compile, has its error point into the file too ([Config.At], error.go).
package config
