package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/ssebridge/ssebridge/"

// mayImport says which packages of this module a package imports. The core imports no edge, edges do not import each
// other, and cmd ties them together.
var mayImport = map[string][]string{
	"auth":                                {},
	"auth/rule":                           {"auth", "bridge"},
	"auth/token":                          {"auth"},
	"bridge":                              {"bridge/telemetry"},
	"bridge/telemetry":                    {},
	"bridge/jetstream":                    {"bridge"},
	"bridge/publish":                      {"bridge", "bridge/telemetry", "gen/ssebridge/v1", "gen/ssebridge/v1/ssebridgev1connect"},
	"bridge/schema":                       {"bridge", "gen/ssebridge/v1"},
	"bridge/sse":                          {"bridge", "bridge/telemetry"},
	"cmd/measure":                         {"cmd/ssebridge/bench"},
	"cmd/ssebridge":                       {"auth", "auth/rule", "auth/token", "bridge", "bridge/jetstream", "bridge/publish", "bridge/schema", "bridge/sse", "bridge/telemetry", "cmd/ssebridge/bench", "cmd/ssebridge/config", "gen/demo/v1", "gen/ssebridge/v1", "gen/ssebridge/v1/ssebridgev1connect", "web"},
	"cmd/ssebridge/bench":                 {"gen/bench/v1", "gen/ssebridge/v1", "gen/ssebridge/v1/ssebridgev1connect"},
	"cmd/ssebridge/config":                {"auth/token"},
	"gen/bench/v1":                        {},
	"gen/demo/v1":                         {},
	"gen/ssebridge/v1":                    {},
	"gen/ssebridge/v1/ssebridgev1connect": {"gen/ssebridge/v1"},
	"web":                                 {},
}

// homes says where a dependency lives, by the longest prefix of its import path that is here. Generated code, which
// belongs to the contract, and cmd, which speaks it as a client, may use what the contract is made of.
var homes = map[string][]string{
	"buf.build/":                                 {"bridge/schema"},
	"cel.dev/":                                   {"auth/rule"},
	"connectrpc.com/connect":                     {"bridge/publish", "cmd/ssebridge", "cmd/ssebridge/bench", "gen/"},
	"connectrpc.com/grpchealth":                  {"bridge/publish"},
	"connectrpc.com/grpcreflect":                 {"bridge/publish"},
	"github.com/goccy/go-yaml":                   {"cmd/ssebridge/config"},
	"github.com/go-jose/go-jose":                 {"auth/token"},
	"connectrpc.com/otelconnect":                 {"bridge/publish"},
	"github.com/go-logr/":                        {"cmd/ssebridge"}, // what the OpenTelemetry SDK logs with
	"github.com/prometheus/":                     {"cmd/ssebridge"},
	"go.opentelemetry.io/":                       {"cmd/ssebridge"},
	"go.opentelemetry.io/otel/attribute":         {"bridge/telemetry"},
	"go.opentelemetry.io/otel/codes":             {"bridge/telemetry"},
	"go.opentelemetry.io/otel/metric":            {"bridge/telemetry"},
	"go.opentelemetry.io/otel/propagation":       {"bridge/telemetry"},
	"go.opentelemetry.io/otel/semconv/":          {"bridge/telemetry", "cmd/ssebridge"},
	"go.opentelemetry.io/otel/trace":             {"bridge/telemetry"},
	"github.com/gofrs/flock":                     {"bridge/jetstream"},
	"github.com/google/pprof":                    {"cmd/measure"}, // profiles of a bridge that is measured
	"github.com/nats-io/":                        {"bridge/jetstream"},
	"github.com/spf13/":                          {"cmd/ssebridge"},
	"github.com/synadia-io/orbit.go":             {"bridge/jetstream"},
	"github.com/tmaxmax/go-sse":                  {"cmd/ssebridge"},                                      // the client of the subscribe command
	"golang.org/x/sys":                           {"bridge/sse", "cmd/ssebridge", "cmd/ssebridge/bench"}, // epoll loops; options of sockets and of the process
	"golang.org/x/time":                          {"bridge/jetstream", "cmd/ssebridge"},                  // both keep lines out of the log
	"golang.org/x/sync":                          {"bridge/jetstream"},
	"google.golang.org/protobuf/":                {"bridge/schema", "bridge/publish", "cmd/ssebridge", "cmd/ssebridge/bench", "gen/"},
	"google.golang.org/protobuf/encoding/":       {"bridge/schema"},
	"google.golang.org/protobuf/types/dynamicpb": {"bridge/schema"},
	"net/http": {"auth/token", "bridge/sse", "bridge/publish", "cmd/measure", "cmd/ssebridge", "cmd/ssebridge/bench", "gen/", "web"},
}

type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"...").Output()
	require.NoError(t, err)
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	assert.Len(t, packages, len(mayImport), "each package has a line in mayImport")
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := mayImport[name]
		assert.True(t, known, "%s has no line in mayImport", name)
		for _, imported := range p.Imports {
			if inner, ok := strings.CutPrefix(imported, module); ok {
				assert.Contains(t, allowed, inner, "%s must not import %s", name, inner)
			}
		}
	}
}

func TestDependenciesHaveOneHome(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			home := ""
			for prefix := range homes {
				if strings.HasPrefix(imported, prefix) && len(prefix) > len(home) {
					home = prefix
				}
			}
			used[home] = true
			if home == "" {
				first, _, _ := strings.Cut(imported, "/")
				outside := strings.Contains(first, ".") && !strings.HasPrefix(imported, module)
				assert.False(t, outside, "%s imports %s, which has no home", name, imported)
				continue
			}
			lives := slices.ContainsFunc(homes[home], func(in string) bool {
				return name == in || strings.HasSuffix(in, "/") && strings.HasPrefix(name, in)
			})
			assert.True(t, lives, "%s must not import %s: its home is %v", name, imported, homes[home])
		}
	}
	for prefix := range homes {
		assert.True(t, used[prefix], "nothing imports %s any more", prefix)
	}
}

func TestEachPackageHasOneDocComment(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if strings.HasPrefix(p.ImportPath, module+"gen/") {
			continue
		}
		docs := 0
		for _, file := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.ParseComments|parser.PackageClauseOnly)
			require.NoError(t, err)
			if parsed.Doc != nil {
				docs++
			}
		}
		assert.Equal(t, 1, docs, "doc comments of %s", p.ImportPath)
	}
}
